"""Stores that write down what is done to others, by whichever route it comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

from api.auth.audit import AuditLog, asking
from transcription.computation import DeadLetter
from transcription.errors import MurmurationError
from transcription.job import Job, Outcome, Status, Submission
from transcription.ports import Event, EventLog, JobStore, Mark, Outbox, Page
from transcription.transcript import Segment, Transcript
from transcription.webhook import DeliveryLog

_reading: ContextVar[tuple[str, str] | None] = ContextVar("reading", default=None)


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

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """The job as it is now: see JobStore."""
        try:
            job = await self._jobs.get(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.read(job_id, error.code)
            raise
        await self._log.read(job.id)
        return job

    async def list(self, *, tenant: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Jobs of one tenant: see JobStore."""
        page = await self._jobs.list(tenant=tenant, status=status, limit=limit, cursor=cursor)
        await self._log.write("list", jobs=len(page.jobs))
        return page

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Computations that wait for an operator: see JobStore."""
        found = await self._jobs.dead_letters()
        await self._log.write("list dead letters", letters=len(found))
        return found

    async def dead_letter(self, computation: str) -> DeadLetter:
        """One dead letter: see JobStore."""
        found = await self._jobs.dead_letter(computation)
        await self._log.write("look at dead letter", computation=computation)
        return found

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

    async def rename(self, job_id: str, names: dict[str, str], *, tenant: str) -> Job:
        """Name a job's speakers: see JobStore. Who they are isn't written down."""
        try:
            job = await self._jobs.rename(job_id, names, tenant=tenant)
        except MurmurationError as error:
            await self._log.write("rename speakers", job=job_id, outcome=error.code)
            raise
        await self._log.write("rename speakers", job=job_id)
        return job

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Cancel the job: see JobStore."""
        try:
            job = await self._jobs.cancel(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.write("cancel", job=job_id, outcome=error.code)
            raise
        await self._log.write("cancel", job=job_id)
        return job

    async def forget(self, job_id: str, *, tenant: str) -> tuple[str, ...]:
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
        async with aclosing(self._events.events(job, after=after, quiet_s=quiet_s)) as events_of_job:
            async for event in events_of_job:
                yield event


class AuditedOutbox:
    """An Outbox that writes down who looks at messages and has them sent again."""

    def __init__(self, outbox: Outbox, log: AuditLog) -> None:
        self._outbox = outbox
        self._log = log

    def __getattr__(self, name: str) -> Any:
        """What isn't written down goes straight through."""
        return getattr(self._outbox, name)

    async def log(self, job_id: str, *, tenant: str) -> DeliveryLog:
        """What was sent for a job: see Outbox."""
        try:
            found = await self._outbox.log(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.read(job_id, error.code)
            raise
        await self._log.read(job_id)
        return found

    async def replay(self, job_id: str, *, tenant: str) -> None:
        """Send a job's last message again: see Outbox."""
        try:
            await self._outbox.replay(job_id, tenant=tenant)
        except MurmurationError as error:
            await self._log.write("replay webhook", job=job_id, outcome=error.code)
            raise
        await self._log.write("replay webhook", job=job_id)


def audited(jobs: JobStore, log: AuditLog) -> JobStore:
    """*jobs* with everything that is done to it written to *log*."""
    # What isn't defined above comes from the store itself.
    return cast("JobStore", AuditedJobs(jobs, log))
