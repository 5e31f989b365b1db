"""Single steps against the ledger, for tests that look at its keys between them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import Redis

from tests.ledger_worker import MODELS
from transcription.computation import Claim, Timing
from transcription.job import Audio, Job, Outcome, Submission
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment

T = TypeVar("T")
WHOLE = Piece(Span(0, 10), (Span(1.0, 2.0), Span(6.0, 7.0)))
TIMING = Timing(audio_s=10.0, compute_s=1.0)


def ask(settings: Settings, question: Callable[[RedisJobs], Awaitable[T]]) -> T:
    async def run() -> T:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        try:
            return await question(jobs)
        finally:
            await jobs.close()

    return asyncio.run(run())


def submission(sha: str = "a" * 64, *, tenant: str = "default", key: str | None = None, **options: Any) -> Submission:
    return Submission(
        job_id=uuid.uuid4().hex,
        tenant=tenant,
        audio=Audio(sha256=sha, bytes=1000, duration_s=10.0, filename="talk.wav"),
        model="demo",
        revision="r1",
        options=Options(**options),
        idempotency_key=key,
    )


def submit(settings: Settings, wish: Submission) -> tuple[Job, Outcome]:
    return ask(settings, lambda jobs: jobs.submit(wish))


def job(settings: Settings, job_id: str) -> Job:
    return ask(settings, lambda jobs: jobs.get(job_id, tenant="default"))


def claim(spans: RedisSpans, worker: str = "w1", *, extras: bool = True) -> Claim:
    found = spans.claim(worker, models=MODELS, extras=extras)
    assert found is not None
    return found


def complete(spans: RedisSpans, held: Claim) -> bool:
    spans.prepared(held, [WHOLE], language="en", probability=0.9)
    spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=10.0)
    return spans.finish(held, TIMING)


def info(name: str, pid: int = 1) -> WorkerInfo:
    return WorkerInfo(
        id=name,
        models=MODELS,
        engine="stub",
        device="cpu",
        compute_type="int8",
        slots=4,
        host="h",
        pid=pid,
        started_at=1.0,
    )


def expire_leases(redis: Redis) -> None:
    for name in redis.zrange("murmur:leases", 0, -1):
        redis.zadd("murmur:leases", {name: 1})
