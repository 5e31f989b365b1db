"""The ledger for the API: jobs in Redis, async."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import orjson
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from transcription.computation import DeadLetter
from transcription.errors import (
    DeadLetterNotFound,
    IdempotencyConflict,
    JobFinished,
    JobNotFound,
    LedgerTooNew,
    OutcomeUnknown,
    QuotaExceeded,
    StorageUnavailable,
    outage_endured,
)
from transcription.job import Job, Outcome, Status, Submission
from transcription.ledger import backup_record, stats
from transcription.ledger.archive import ArchiveReader
from transcription.ledger.connections.errors import (
    RETRY_AFTER_S,
    is_fault,
    too_new,
    translated,
    unavailable,
    unchanged,
)
from transcription.ledger.connections.fail_fast import FailFastRedis
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.job_reader import JobReader
from transcription.ledger.jobs.submit_requests import SubmitRequests
from transcription.ledger.jobs.transcript_reader import TranscriptReader
from transcription.ledger.records import computations
from transcription.ledger.scripts import PREFIX, Scripts, noting, pairs
from transcription.ports import Backlog, Mark, Page, ResultStore, Server
from transcription.settings import Settings
from transcription.transcript import Segment, Transcript

_FULL_RETRY_S = 600
_COMING_MS = 300_000

SYNC_SHARE = 0.6
"""Of the time that an answer may take, the part in which the server may sync to disk."""


class RedisJobs:
    """
    A JobStore on Redis. Its waiters share the one connection of *watch*; without it there is one of its own.

    *results* has the results that have left the ledger.
    """

    def __init__(
        self,
        client: FailFastRedis,
        settings: Settings,
        watch: Watch | None = None,
        results: ResultStore | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._scripts = Scripts(
            client,
            audit_length=settings.ledger.audit_length,
            dead_letter_ttl_s=settings.retention.dead_letter_ttl_s,
            keep_audio=settings.retention.keep_audio,
        )
        self._results = results
        self._archives = ArchiveReader(results, self._scripts)
        self._watch = watch or Watch(client)
        self._reader = JobReader(client, self._scripts, settings)
        self._transcripts = TranscriptReader(self._scripts, self._archives)
        self._requests = SubmitRequests(settings)

    async def close(self) -> None:
        """Stop listening and let the connections go."""
        await self._watch.close()
        await self._client.aclose()

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        """Accept a job: see JobStore."""
        request = self._requests.request(submission)
        # What is as by default isn't written: of most jobs that is nearly all.
        options = submission.options.model_dump_json(exclude_defaults=True)
        decoding = submission.options.decodings(submission.channels)[0].model_dump_json(exclude_defaults=True)
        try:
            outcome, *row = await self._durably("submit", orjson.dumps(request).decode(), options, decoding)
        except (RedisError, OSError) as error:
            if unchanged(error) or is_fault(error) or too_new(error):
                unavailable(error)
            raise _unknown(submission.job_id, type(error).__name__) from error
        if outcome == "full":
            raise _full(submission, *row)
        if outcome == "conflict":
            raise IdempotencyConflict(
                f"Idempotency-Key {submission.idempotency_key!r} was used within a day for another payload"
            )
        (job,) = await self._reader.of_rows(row)
        return job, Outcome(outcome)

    async def _durably(self, name: str, *args: str) -> Any:
        """Run a script; with ``wait_aof`` return only when the server has synced its log to disk."""
        if not self._settings.ledger.wait_aof:
            return await self._scripts.call(name, *args)
        # The server must give up before the socket does, or its answer would never be heard.
        patience_ms = max(1, int(self._client.patience_s * 1000 * SYNC_SHARE))
        async with self._client.bounded(), self._client.pipeline(transaction=False) as pipe:
            await self._scripts.call(name, *args, client=pipe)
            pipe.execute_command("WAITAOF", 1, 0, patience_ms)
            with noting(name):
                answer, synced = await pipe.execute()
        if not synced[0]:
            raise RedisTimeoutError(f"not on the server's disk within {patience_ms} ms")
        return answer

    async def knows(self, key: str, *, tenant: str) -> bool:
        """Whether a job that is still there was submitted under an idempotency key."""
        with translated():
            job_id: Any = await self._client.hget(f"{PREFIX}idem:{tenant}:{key}", "job")
            return job_id is not None and bool(await self._client.exists(f"{PREFIX}job:{job_id}"))

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """The job as it is now. JobNotFound."""
        return await self._reader.one(job_id, tenant=tenant, places=True)

    async def list(self, *, tenant: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Jobs of one tenant without their places, newest first; at the end those that have expired."""
        return await self._reader.list(tenant=tenant, status=status, limit=limit, cursor=cursor)

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        return await self._transcripts.transcript(job)

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """The transcript's next segments after *mark*: see JobStore."""
        return await self._transcripts.written(job, mark)

    async def rename(self, job_id: str, names: dict[str, str], *, tenant: str) -> Job:
        """Give speakers names: see JobStore. JobNotFound."""
        with translated():
            row = await self._scripts.call("rename", job_id, tenant, orjson.dumps(names).decode())
        if not row:
            raise JobNotFound(f"no job {job_id!r}")
        (job,) = await self._reader.of_rows([row])
        return job

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Cancel the job. JobNotFound, JobFinished."""
        with translated():
            answer, *rows = await self._scripts.call("cancel", job_id, tenant)
        if answer == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        (job,) = await self._reader.of_rows(rows)
        if answer == "finished":
            raise JobFinished(f"job {job_id!r} is {job.status.value} already")
        return job

    async def expect(self, sha256: str, *, job_id: str) -> bool:
        """Say that a job for a recording is on its way; False while its bytes are being deleted. LedgerUnavailable."""
        with translated():
            return bool(await self._scripts.call("expect", sha256, job_id, _COMING_MS))

    async def withdraw(self, sha256s: Sequence[str], *, job_id: str) -> None:
        """Say that a job that was on its way won't be recorded: see JobStore. LedgerUnavailable."""
        if sha256s:
            with translated():
                await self._scripts.call("withdraw", job_id, *sha256s)

    async def deleted(self, sha256: str) -> None:
        """Say that a recording's bytes, which `forget` named, are gone. LedgerUnavailable."""
        with translated():
            await self._client.delete(f"{PREFIX}deleting:{sha256}")

    async def forget(self, job_id: str, *, tenant: str) -> tuple[str, ...]:
        """Delete the job, and what nobody else holds: see JobStore. JobNotFound."""
        with translated():
            answer = await self._scripts.call("forget", job_id, tenant)
        if answer == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        if answer[1]:
            await self._delete_results(answer[1])
        return tuple(answer[2:])

    async def _delete_results(self, names: Sequence[str]) -> None:
        """Delete results at once that a deletion left to nobody; what fails here maintenance does."""
        if self._results is None:
            return
        with suppress(StorageUnavailable, RedisError):
            for name in names:
                await self._archives.delete(name)
            await self._client.zrem(f"{PREFIX}dropped", *names)

    async def follow(self, job: Job, *, seconds: float, quiet_s: float) -> AsyncGenerator[Job, None]:
        """Yield the job now and after each change, until its end: see JobStore."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds

        checks = self._watch.checks(
            [job.computation],
            lambda: self._reader.one(job.id, tenant=job.tenant, places=False),
            longest_s=lambda: min(quiet_s, max(0.0, deadline - clock())),
        )
        async with aclosing(checks) as found:
            async for now in found:
                job = now or job
                yield job
                if job.status.terminal or clock() >= deadline:
                    return

    async def wait(self, job: Job, *, seconds: float) -> Job:
        """The job at its end, or as it is after *seconds*; as it was last seen while the ledger is away, or newer."""
        # Newer: the next release has taken over, and answers whoever asks again.
        with suppress(LedgerTooNew):
            async with aclosing(self.follow(job, seconds=seconds, quiet_s=seconds)) as states:
                async for state in states:
                    job = state
            if not job.status.terminal:
                with outage_endured():
                    return await self.get(job.id, tenant=job.tenant)  # with its place in the queue
        return job

    async def backlog(self) -> Backlog:
        """Figures for people, metrics and backpressure."""
        return await self._reader.backlog()

    async def server(self) -> Server:
        """How the ledger's server is."""
        with translated():
            return stats.server(await self._client.info("all"), await self._client.hgetall(backup_record.KEY))

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Computations that wait for an operator, the latest first; a thousand at most."""
        return await self._letters("")

    async def dead_letter(self, computation: str) -> DeadLetter:
        """One dead letter. DeadLetterNotFound."""
        found = await self._letters(computation)
        if not found:
            raise DeadLetterNotFound(f"no dead letter {computation!r}")
        return found[0]

    async def _letters(self, wanted: str) -> tuple[DeadLetter, ...]:
        with translated():
            rows = await self._scripts.call("letters", 1000, wanted)
        return tuple(computations.dead_letter(float(at) / 1000, pairs(comp), jobs) for at, comp, jobs in rows)

    async def retry(self, computation: str) -> None:
        """Try a dead letter again, with every option of its jobs. DeadLetterNotFound."""
        await self._resolve("retry", computation)

    async def drop(self, computation: str) -> None:
        """Take a dead letter off the list; its jobs stay failed. DeadLetterNotFound."""
        await self._resolve("drop", computation)

    async def _resolve(self, action: str, computation: str) -> None:
        with translated():
            answer = await self._scripts.call("dead", action, computation)
        if answer != "ok":
            raise DeadLetterNotFound(f"no dead letter {computation!r}")


def _unknown(job_id: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the ledger didn't answer in time ({why}): whether job {job_id!r} was accepted isn't known; look it up",
        job_id=job_id,
        retry_after_s=RETRY_AFTER_S,
    )


def _full(submission: Submission, jobs: int, stored_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"{jobs} of your jobs are kept, with {stored_bytes} bytes of options; your tier keeps {submission.max_jobs} "
        f"jobs and {submission.max_bytes} bytes: delete jobs, or let them expire",
        retry_after_s=_FULL_RETRY_S,
    )
