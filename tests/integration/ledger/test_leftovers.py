"""After a full life, or a deletion in the middle of one, nothing is left in the ledger."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient, left_over
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM, DAY_S, RECEIVER, TTL_S, end, settle
from tests.ledger_worker import LedgerWorker
from transcription.errors import Stopped
from transcription.job import Status
from transcription.ledger.span_store import RedisSpans
from transcription.webhook import Verdict

MARKS_S = 70
"""After so long the last mark of a deletion has ended by itself."""


def test_nothing_is_left_after_a_full_life_and_nothing_went_early(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    other = LedgerWorker(spans, "w2")
    hooked = {"webhook_url": RECEIVER, "ttl_s": TTL_S}
    kept = [end(client, worker, "completed", **hooked)]
    kept.append(client.submit(key="k", **hooked)[0])  # cached
    kept.append(client.new("b", tenant="acme", **hooked))
    held = worker.claim()
    worker.prepare(held, ends=(4.0, 7.0, 10.0))
    worker.write(held, 0, " one", audio_s=2.0)
    extra = other.claim()
    spans.release(extra)
    spans.fail(other.claim(), BOOM, retry_in_s=5)
    kept.append(client.submit("b", **hooked)[0])  # joined, and canceled while its neighbour goes on
    client.cancel(kept[-1])
    worker.finish(held)
    ledger_clock.advance(6)
    spans.reap()
    for _ in range(2):
        worker.finish(worker.claim())
    kept.append(client.new("c", priority="batch", key="c", **hooked))
    worker.fail()
    client.drop(kept[-1])
    kept.append(client.new("d", **hooked))
    client.cancel(kept[-1])
    kept.append(client.new("e", **hooked))
    worker.claim()
    heir = LedgerWorker(spans, "w1", pid=2)  # its process died with the span in work
    alone = worker.claim()
    assert alone.suspect
    worker.finish(alone)
    kept.append(client.new("f", **hooked))
    worker.fail()
    client.retry(kept[-1])
    worker.work()
    message = client.outbox(lambda box: box.claim(lease_s=5))
    settle(client, message, Verdict.GONE)
    message = client.outbox(lambda box: box.claim(lease_s=5))
    states = [client.status(job) for job in kept]
    ledger_clock.advance(TTL_S - 60)
    spans.sweep()
    assert [client.status(job) for job in kept] == states
    assert [client.text(job) for job in kept[:3]] == ["hello world", "hello world", "one"]
    for left in (heir, other):
        spans.depart(left.info)
    ledger_clock.advance(120)
    assert spans.sweep() == len(kept)
    assert {client.status(job) for job in kept} == {Status.EXPIRED}
    ledger_clock.advance(8 * DAY_S)
    assert spans.sweep() == len(kept)
    assert left_over(redis_server) == set()
    assert {redis_server.ttl(key) for key in redis_server.keys("murmur:*")} == {-1}


def test_deleted_unfinished_jobs_leave_nothing(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    running = client.new("r", webhook_url=RECEIVER)
    held = worker.claim()
    worker.prepare(held, ends=(4.0, 10.0))
    delayed = client.new("d")
    spans.fail(worker.claim(), BOOM, retry_in_s=60)
    waiting = client.new("w", priority="batch")
    for job in (running, delayed, waiting):
        client.forget(job)
    with pytest.raises(Stopped):
        worker.finish(held)
    spans.depart(worker.info)
    ledger_clock.advance(MARKS_S)
    assert left_over(ledger_clock.redis) == set()


@pytest.mark.parametrize("ending", ["completed", "failed", "canceled"])
def test_deleted_ended_job_leaves_nothing(
    client: LedgerClient,
    worker: LedgerWorker,
    spans: RedisSpans,
    ledger_clock: LedgerClock,
    ending: str,
) -> None:
    job = end(client, worker, ending, webhook_url=RECEIVER, ttl_s=TTL_S)
    settle(client, client.outbox(lambda box: box.claim(lease_s=5)), Verdict.DELIVERED)
    client.forget(job)
    spans.depart(worker.info)
    ledger_clock.advance(MARKS_S)
    assert left_over(ledger_clock.redis) == set()
    job = end(client, LedgerWorker(spans, "w1"), ending, webhook_url=RECEIVER, ttl_s=TTL_S)
    ledger_clock.advance(TTL_S + 10)
    spans.sweep()
    client.forget(job)
    spans.depart(worker.info)
    ledger_clock.advance(MARKS_S)
    assert left_over(ledger_clock.redis) == set()
