"""The audit log: who submitted, read, canceled and deleted what, one JSON object a line, apart from other logs."""

import os
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

import orjson

from transcription.access import Principal
from transcription.errors import MurmurationError
from transcription.job import Job, Outcome, Submission
from transcription.ports import Event, EventLog, JobStore
from transcription.transcript import Transcript

asking: ContextVar[tuple[Principal, str]] = ContextVar("asking")
"""Who asks, and the request's id; the API sets it for every request."""

_reading: ContextVar[tuple[str, str] | None] = ContextVar("reading", default=None)
_MODE = 0o640


class AuditLog:
    """
    Appends to one stream, a line at a time; threads and processes may share the file.

    Args:
        target: A file's path, `-` for standard error, or nothing for no log at all.
    """

    def __init__(self, target: str) -> None:
        self._lock = threading.Lock()
        self._stream: TextIO | None = _opened(target)

    def write(self, action: str, *, job: str | None = None, outcome: str = "ok", **more: Any) -> None:
        """Say that the client who asks has done *action*; never raises on account of who that is."""
        if self._stream is None:
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
        line = orjson.dumps(entry).decode() + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._stream is not None

    def close(self) -> None:
        """Let the file go."""
        if self._stream is not None and self._stream is not sys.stderr:
            self._stream.close()
        self._stream = None


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
        self._log.write("submit", job=job.id, outcome=outcome.value, audio=submission.audio.sha256)
        return job, outcome

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        found = await self._jobs.transcript(job)
        # A stream reads what there is again and again; that is one reading.
        reading = (asking.get((None, ""))[1], job.id)
        if _reading.get() != reading:
            _reading.set(reading)
            self._log.write("read", job=job.id)
        return found

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Give up the ticket: see JobStore."""
        try:
            job = await self._jobs.cancel(job_id, tenant=tenant)
        except MurmurationError as error:
            self._log.write("cancel", job=job_id, outcome=error.code)
            raise
        self._log.write("cancel", job=job_id)
        return job

    async def forget(self, job_id: str, *, tenant: str) -> str | None:
        """Delete the job: see JobStore."""
        try:
            unneeded = await self._jobs.forget(job_id, tenant=tenant)
        except MurmurationError as error:
            self._log.write("delete", job=job_id, outcome=error.code)
            raise
        self._log.write("delete", job=job_id)
        return unneeded

    async def retry(self, computation: str) -> None:
        """Try a dead letter again: see JobStore."""
        await self._jobs.retry(computation)
        self._log.write("retry", computation=computation)

    async def drop(self, computation: str) -> None:
        """Take a dead letter off the list: see JobStore."""
        await self._jobs.drop(computation)
        self._log.write("drop", computation=computation)


class AuditedEvents:
    """An EventLog that writes down who listens to another one: events hold what was said."""

    def __init__(self, events: EventLog, log: AuditLog) -> None:
        self._events = events
        self._log = log

    def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """Yield what happens: see EventLog."""
        self._log.write("follow", job=job.id)
        return self._events.events(job, after=after, quiet_s=quiet_s)


def audited(jobs: JobStore, log: AuditLog) -> JobStore:
    """*jobs* with everything that is done to it written to *log*."""
    # What isn't defined above comes from the store itself.
    return cast("JobStore", AuditedJobs(jobs, log))


def _opened(target: str) -> TextIO | None:
    if target == "-":
        return sys.stderr
    if not target:
        return None
    path = Path(target).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE), "a", encoding="utf-8")
