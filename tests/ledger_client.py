"""A client's hand on the ledger: each call is one question to the job store, asked and answered at once."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import Redis

from transcription.computation import DeadLetter
from transcription.job import Audio, Job, Outcome, Status, Submission
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.webhook_outbox import RedisOutbox
from transcription.options import Options
from transcription.ports import Backlog
from transcription.settings import Settings
from transcription.storage.results import open_results

T = TypeVar("T")


class LedgerClient:
    """Submits recordings that are told apart by one letter, and asks what became of them."""

    def __init__(self, settings: Settings, client: Callable[[], Any] | None = None) -> None:
        # A busy machine is no reason to fail: only tests of the ledger's silence wait as briefly as clients do.
        patient = settings.ledger.model_copy(update={"timeout_s": 30.0})
        self.settings = settings.model_copy(update={"ledger": patient})
        self._client = client or (lambda: connect_async(self.settings.ledger))

    def ask(self, question: Callable[[RedisJobs], Awaitable[T]]) -> T:
        async def run() -> T:
            jobs = RedisJobs(self._client(), self.settings, results=open_results(self.settings))
            try:
                return await question(jobs)
            finally:
                await jobs.close()

        return asyncio.run(run())

    def outbox(self, question: Callable[[RedisOutbox], Awaitable[T]]) -> T:
        async def run() -> T:
            redis = self._client()
            try:
                return await question(RedisOutbox(redis, self.settings))
            finally:
                await redis.aclose()

        return asyncio.run(run())

    def submit(
        self,
        letter: str = "a",
        *,
        tenant: str = "default",
        key: str | None = None,
        seconds: float = 10.0,
        model: str = "demo",
        **options: Any,
    ) -> tuple[Job, Outcome]:
        wish = Submission(
            job_id=uuid.uuid4().hex,
            tenant=tenant,
            audio=Audio(sha256=letter * 64, bytes=1000, duration_s=seconds, filename=f"{letter}.wav"),
            model=model,
            revision="r1",
            options=Options(**options),
            idempotency_key=key,
        )
        return self.ask(lambda jobs: jobs.submit(wish))

    def new(self, letter: str = "a", **how: Any) -> Job:
        """Submit what must be new to the ledger."""
        job, outcome = self.submit(letter, **how)
        assert outcome is Outcome.NEW
        return job

    def get(self, job: Job) -> Job:
        return self.ask(lambda jobs: jobs.get(job.id, tenant=job.tenant))

    def status(self, job: Job) -> Status:
        return self.get(job).status

    def text(self, job: Job) -> str:
        return self.ask(lambda jobs: jobs.transcript(job)).text

    def cancel(self, job: Job) -> Job:
        return self.ask(lambda jobs: jobs.cancel(job.id, tenant=job.tenant))

    def forget(self, job: Job) -> tuple[str, ...]:
        return self.ask(lambda jobs: jobs.forget(job.id, tenant=job.tenant))

    def listed(self, tenant: str = "default", status: Status | None = None) -> list[str]:
        page = self.ask(lambda jobs: jobs.list(tenant=tenant, status=status, limit=100, cursor=None))
        return [job.id for job in page.jobs]

    def backlog(self) -> Backlog:
        return self.ask(lambda jobs: jobs.backlog())

    def letters(self) -> tuple[DeadLetter, ...]:
        return self.ask(lambda jobs: jobs.dead_letters())

    def retry(self, job: Job) -> None:
        self.ask(lambda jobs: jobs.retry(job.computation))

    def drop(self, job: Job) -> None:
        self.ask(lambda jobs: jobs.drop(job.computation))


TOTALS = {
    # What stays for ever, and doesn't grow with jobs.
    "audit", "backlog", "config", "counts", "failures", "fence", "latencies", "revisions", "running", "schema",
    "served", "stats", "unneeded",
}  # fmt: skip


def left_over(redis: Redis) -> set[str]:
    """The ledger's keys but its totals; of those, what should have come back to zero and hasn't."""
    names = {key.removeprefix("murmur:") for key in redis.keys("murmur:*")} - TOTALS
    names |= {f"running {tenant}" for tenant in redis.hkeys("murmur:running")}
    for name in ("counts", "backlog"):
        names |= {f"{name} {field}" for field, value in redis.hgetall(f"murmur:{name}").items() if value != "0"}
    return names
