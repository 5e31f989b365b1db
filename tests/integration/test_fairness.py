"""Fair queueing: however much one tenant has queued, another's first job waits for one span at most."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from tests.ledger_worker import LedgerWorker
from transcription.job import Audio, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options, Priority
from transcription.settings import Settings

LONG_S = 100 * 3600.0
HEAP = 100
"""Recordings of a hundred hours: 10,000 hours together."""


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(ledger={"url": redis_url})


@pytest.fixture
def worker(settings: Settings) -> Iterator[LedgerWorker]:
    client = connect(settings.ledger)
    yield LedgerWorker(RedisSpans(client, settings))
    client.close()


def queue(settings: Settings, *wishes: tuple[str, float, Priority]) -> list[str]:
    """Submit a recording for each (tenant, seconds, class); the computations."""

    async def run() -> list[str]:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        try:
            return [(await jobs.submit(_wish(*wish)))[0].computation for wish in wishes]
        finally:
            await jobs.close()

    return asyncio.run(run())


def _wish(tenant: str, seconds: float, priority: Priority) -> Submission:
    sha = (uuid.uuid4().hex * 2)[:64]
    return Submission(
        job_id=uuid.uuid4().hex,
        tenant=tenant,
        audio=Audio(sha256=sha, bytes=1000, duration_s=seconds, filename="a.wav"),
        model="demo",
        revision="r1",
        options=Options(priority=priority),
    )


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("priority", list(Priority))
def test_a_heap_of_queued_hours_delays_another_tenants_first_job_by_one_span_at_most(
    settings: Settings, worker: LedgerWorker, slots: int, priority: Priority
) -> None:
    heap = queue(settings, *[("hoarder", LONG_S, priority)] * HEAP)
    # The hoarder has every place, and its first recording is cut into spans that could go on taking them.
    running = [worker.claim() for _ in range(slots)]
    worker.prepare(running[0], [300.0 * (n + 1) for n in range(1200)])
    assert {claim.computation for claim in running} <= set(heap)
    (theirs,) = queue(settings, ("newcomer", 60.0, priority))
    # The first place that comes free is the newcomer's.
    worker.finish(running[0])
    assert worker.claim().computation == theirs


def test_tenants_with_heaps_take_turns(settings: Settings, worker: LedgerWorker) -> None:
    owners = {
        computation: tenant
        for tenant in ("a", "b", "c")
        for computation in queue(settings, *[(tenant, 600.0, Priority.BATCH)] * 6)
    }
    claims = [worker.claim() for _ in range(6)]
    assert sorted(owners[claim.computation] for claim in claims) == ["a", "a", "b", "b", "c", "c"]
    # Whoever has the least audio running comes next.
    done = next(claim for claim in claims if owners[claim.computation] == "b")
    worker.prepare(done)
    worker.finish(done)
    assert owners[worker.claim().computation] == "b"
