"""Zero retention: a job is deleted as soon as its whole result has been sent to somebody."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transcription.errors import JobNotFound, MurmurationError
from transcription.job import Job, Status
from transcription.ports import Event, EventLog, JobStore, Mark
from transcription.transcript import Segment, Transcript

_reading: ContextVar[dict[str, str] | None] = ContextVar("whole results of this request", default=None)
_READING = {"GET", "POST"}
"""POST, because who waits for a transcription is given it in the answer; naming speakers only looks at it."""

_TRIES = 5
_PAUSE_S = 1.0
_log = structlog.get_logger("api.zero_retention")


def _note(job: Job) -> None:
    found = _reading.get()
    if found is not None:
        found[job.id] = job.tenant


class NotingJobs:
    """A JobStore that notes for this request which jobs' whole result was taken out of another one."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    def __getattr__(self, name: str) -> Any:
        """What gives no result goes straight through."""
        return getattr(self._jobs, name)

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        found = await self._jobs.transcript(job)
        if found.complete:
            _note(job)
        return found

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """The transcript's next segments: see JobStore."""
        segments, mark = await self._jobs.written(job, mark)
        if not segments and job.status is Status.COMPLETED:
            _note(job)
        return segments, mark


class NotingEvents:
    """An EventLog that notes who has heard another one's events to the end of a completed job."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    async def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """Yield what happens: see EventLog."""
        async with aclosing(self._events.events(job, after=after, quiet_s=quiet_s)) as events_of_job:
            async for event in events_of_job:
                if event is not None and event.type == "done":
                    _note(job)
                yield event


def noting_jobs(jobs: JobStore) -> JobStore:
    """*jobs*, noting whose whole result was taken."""
    return cast("JobStore", NotingJobs(jobs))


class ZeroRetention:
    """
    Deletes what a request was given in whole, once its answer is out; a client that has left by then keeps it.

    An answer without its body, as to HEAD, or that nothing has changed, gives nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._deleting: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] not in _READING or scope.get("state", {}).get("head"):
            await self._app(scope, receive, send)
            return
        read: dict[str, str] = {}
        _reading.set(read)
        status, sent = 0, False

        async def watch(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif read and message["type"] == "http.response.body" and not message.get("more_body"):
                sent = status == 200 and not await Request(scope, receive).is_disconnected()
            await send(message)

        await self._app(scope, receive, watch)
        if sent:
            for job_id, tenant in read.items():
                task = asyncio.create_task(self._delete(scope, job_id, tenant))
                self._deleting.add(task)
                task.add_done_callback(self._deleting.discard)

    async def _delete(self, scope: Scope, job_id: str, tenant: str) -> None:
        for attempt in range(_TRIES):
            try:
                await scope["app"].state.platform.submissions.forget(job_id, tenant=tenant)
            except JobNotFound:
                return  # somebody else has read it too
            except MurmurationError as error:
                _log.warning("a job that was read isn't deleted yet", job_id=job_id, error=error.message)
                await asyncio.sleep(_PAUSE_S * 2**attempt)
            else:
                return
        _log.error("a job that was read stays until its retention is over", job_id=job_id)
