"""The audit log: who submitted, read, canceled and deleted what, one JSON object a line, apart from other logs."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
import structlog
from prometheus_client import Counter

from transcription.access import Principal
from transcription.errors import MurmurationError
from transcription.job import Job, Outcome, Submission
from transcription.ports import Event, EventLog, JobStore, Mark
from transcription.transcript import Segment, Transcript

asking: ContextVar[tuple[Principal, str]] = ContextVar("asking")
"""Who asks, and the request's id; the API sets it for every request."""

_reading: ContextVar[tuple[str, str] | None] = ContextVar("reading", default=None)
_log = structlog.get_logger("api.audit")
_MODE = 0o640
_PATIENCE_S = 0.5
_MOST_WAITING = 10_000


class AuditLog:
    """
    Appends to one file, a line at a time; processes may share it, and it may be moved away (logrotate).

    Lines are written by a thread: a disk that hangs stops nobody. A line that can't be written, as on a full disk, is
    counted and stands in the other log; what it tells of has happened and isn't undone.

    Args:
        target: A file's path, `-` for standard error, or nothing for no log at all.
        lost: Counts the lines that were lost.
    """

    def __init__(self, target: str, lost: Counter) -> None:
        self._handler = _handler(target)
        self._thread = ThreadPoolExecutor(1, "audit")
        self._waiting = 0
        self._written_at = 0.0
        self._lost = lost

    async def write(self, action: str, *, job: str | None = None, outcome: str = "ok", **more: Any) -> None:
        """Say that the client who asks has done *action*; never raises, and waits half a second at most."""
        if self._handler is None:
            return
        client, request_id = asking.get((Principal(), ""))
        entry = {
            "at": datetime.fromtimestamp(round(time.time(), 3), UTC).isoformat(),
            "action": action,
            "outcome": outcome,
            "tenant": client.tenant,
            "key": client.key_id or None,
            "address": client.address or None,
            "request_id": request_id or None,
            "job": job,
            **more,
        }
        if self._waiting >= _MOST_WAITING:
            self._lost.inc()
            return
        hangs = self._waiting and time.monotonic() - self._written_at > _PATIENCE_S
        self._waiting += 1
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._append, orjson.dumps(entry).decode())
        writing.add_done_callback(self._written)
        if not hangs:
            await asyncio.wait([writing], timeout=_PATIENCE_S)

    def _append(self, line: str) -> None:
        if self._handler is not None:
            self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._waiting -= 1
        self._written_at = time.monotonic()
        if not writing.cancelled() and (error := writing.exception()):
            self._lost.inc()
            _log.error("a line of the audit log is lost", error=str(error))

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._handler is not None

    def close(self) -> None:
        """Let the file go, once what waits is written."""
        self._thread.shutdown(wait=self._waiting == 0 or time.monotonic() - self._written_at < _PATIENCE_S)
        if self._handler is not None:
            self._handler.close()
        self._handler = None


class AuditedJobs:
    """A JobStore that writes down what is done to another one, by whichever route it comes."""

    def __init__(self, jobs: JobStore, log: AuditLog) -> None:
        self._jobs = jobs
        self._log = log

    def __getattr__(self, name: str) -> Any:
        """What isn't written down goes straight through."""
        return getattr(self._jobs, name)

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        """Accept a job: see JobStore."""
        job, outcome = await self._jobs.submit(submission)
        await self._log.write("submit", job=job.id, outcome=outcome.value, audio=submission.audio.sha256)
        return job, outcome

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        found = await self._jobs.transcript(job)
        await self._log_read(job)
        return found

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """The transcript's next segments: see JobStore."""
        found = await self._jobs.written(job, mark)
        await self._log_read(job)
        return found

    async def _log_read(self, job: Job) -> None:
        # A stream reads what there is again and again; that is one reading.
        reading = (asking.get((None, ""))[1], job.id)
        if _reading.get() != reading:
            _reading.set(reading)
            await self._log.write("read", job=job.id)

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Give up the ticket: see JobStore."""
        try:
            job = await self._jobs.cancel(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.write("cancel", job=job_id, outcome=error.code)
            raise
        await self._log.write("cancel", job=job_id)
        return job

    async def forget(self, job_id: str, *, tenant: str) -> str | None:
        """Delete the job: see JobStore."""
        try:
            unneeded = await self._jobs.forget(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.write("delete", job=job_id, outcome=error.code)
            raise
        await self._log.write("delete", job=job_id)
        return unneeded

    async def retry(self, computation: str) -> None:
        """Try a dead letter again: see JobStore."""
        await self._jobs.retry(computation)
        await self._log.write("retry", computation=computation)

    async def drop(self, computation: str) -> None:
        """Take a dead letter off the list: see JobStore."""
        await self._jobs.drop(computation)
        await self._log.write("drop", computation=computation)


class AuditedEvents:
    """An EventLog that writes down who listens to another one: events hold what was said."""

    def __init__(self, events: EventLog, log: AuditLog) -> None:
        self._events = events
        self._log = log

    async def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """Yield what happens: see EventLog."""
        await self._log.write("follow", job=job.id)
        async with aclosing(self._events.events(job, after=after, quiet_s=quiet_s)) as told:
            async for event in told:
                yield event


def audited(jobs: JobStore, log: AuditLog) -> JobStore:
    """*jobs* with everything that is done to it written to *log*."""
    # What isn't defined above comes from the store itself.
    return cast("JobStore", AuditedJobs(jobs, log))


class _File(WatchedFileHandler):
    """A file that its group may read; opened anew when something else stands in its place."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: ARG002, N802
        """Raise what went wrong; the standard library would print it."""
        raise  # noqa: PLE0704


def _handler(target: str) -> logging.Handler | None:
    if target == "-":
        return logging.StreamHandler(sys.stderr)
    if not target:
        return None
    path = Path(target).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return _File(path)
