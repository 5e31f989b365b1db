"""What one tenant has, another is told doesn't exist: by the ledger itself, whatever the API has asked before."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import DAY_S, RECEIVER, end, settle
from tests.ledger_worker import LedgerWorker
from transcription.errors import JobNotFound
from transcription.job import Job, Status
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.webhook import Verdict

Question = Callable[[RedisJobs, str], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "get": lambda jobs, job: jobs.get(job, tenant="theirs"),
    "cancel": lambda jobs, job: jobs.cancel(job, tenant="theirs"),
    "delete": lambda jobs, job: jobs.forget(job, tenant="theirs"),
    "name speakers": lambda jobs, job: jobs.rename(job, {"A": "Anna"}, tenant="theirs"),
}


def hear(client: LedgerClient, job: Job) -> list[str]:
    """The types of a job's events, to its end."""

    async def run() -> list[str]:
        redis = connect_async(client.settings.ledger)
        watch = Watch(redis)
        try:
            events = RedisEvents(redis, client.settings, watch, None).events(job, after=None, quiet_s=5)
            return [event.type async for event in events if event is not None]
        finally:
            await watch.close()
            await redis.aclose()

    return asyncio.run(run())


def test_another_tenant_s_job_does_not_exist(client: LedgerClient, worker: LedgerWorker) -> None:
    job = end(client, worker, "completed", tenant="ours", webhook_url=RECEIVER)
    settle(client, client.outbox(lambda box: box.claim(lease_s=25)), Verdict.DELIVERED)
    for question in QUESTIONS.values():
        with pytest.raises(JobNotFound):
            client.ask(lambda jobs, question=question: question(jobs, job.id))  # type: ignore[misc]
    with pytest.raises(JobNotFound):
        client.outbox(lambda box: box.log(job.id, tenant="theirs"))
    with pytest.raises(JobNotFound):
        client.outbox(lambda box: box.replay(job.id, tenant="theirs"))
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    assert "done" in hear(client, job)
    assert "done" not in hear(client, replace(job, tenant="theirs"))
    assert client.status(job) is Status.COMPLETED


def test_a_message_is_told_as_delivered_and_one_that_is_sent_again_has_all_its_time(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "completed", webhook_url=RECEIVER)
    settle(client, client.outbox(lambda box: box.claim(lease_s=25)), Verdict.DELIVERED)
    (told,) = client.outbox(lambda box: box.log(job.id, tenant=job.tenant)).messages
    assert (told.state, told.next_try_at) == ("delivered", None)
    ledger_clock.advance(DAY_S / 2)
    client.outbox(lambda box: box.replay(job.id, tenant=job.tenant))
    again = client.outbox(lambda box: box.claim(lease_s=25))
    assert again is not None
    assert again.now - again.enqueued_at == pytest.approx(0, abs=30)


def test_a_recording_that_was_begun_is_none_that_waits_for_a_worker(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    client.new("a", seconds=20.0)
    worker.prepare(worker.claim(), (10.0, 20.0))
    ledger_clock.advance(60)
    lane = client.backlog().lanes["demo"]
    assert (lane.workers, lane.pending, lane.unserved) == (0, 1, 0)
