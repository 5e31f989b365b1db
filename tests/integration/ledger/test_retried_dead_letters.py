"""A dead letter that is retried or dropped: what is computed again, and whose place it takes."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM
from tests.ledger_worker import LedgerWorker, dies, nothing_for
from transcription.errors import Stopped
from transcription.job import Outcome, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings

THIRDS = (4.0, 7.0, 10.0)


def test_retried_dead_letter_begins_anew_and_keeps_what_was_written(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = client.new()
    held = worker.claim()
    worker.prepare(held, THIRDS)
    worker.write(held, 0, " one", audio_s=4.0)
    worker.finish(held)
    second = worker.claim()
    worker.write(second, 0, " two", audio_s=1.0)
    for _ in range(2):
        spans.fail(second, BOOM, retry_in_s=1)
        ledger_clock.advance(2)
        spans.reap()
        second = worker.claim()
        while second.index != 1:
            second = worker.claim()
    spans.fail(second, BOOM, retry_in_s=None)
    assert client.status(job) is Status.FAILED
    client.retry(job)
    assert client.letters() == ()
    assert (client.get(job).failure, client.get(job).started_at) == (None, None)
    again = [worker.claim(), worker.claim()]
    assert {(one.index, one.attempt, one.windows_done) for one in again} == {(1, 1, 1), (2, 1, 0)}
    assert nothing_for(worker)
    for one in again:
        worker.finish(one)
    assert client.status(job) is Status.COMPLETED
    assert client.text(job) == "one two"
    assert client.get(job).progress.fraction == 1.0


def falls_short(worker: LedgerWorker, redis: Redis) -> None:
    """Take a recording of two spans to its end, of which two seconds are nobody's."""
    held = worker.claim()
    worker.prepare(held, (4.0, 10.0))
    worker.finish(held)
    rest = worker.claim()
    redis.hset(f"murmur:span:{rest.computation}:1", "start", 6000)
    worker.finish(rest)


def test_retried_dead_letter_whose_spans_fell_short_is_computed_anew(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis
) -> None:
    job = client.new()
    for _ in range(2):
        falls_short(worker, redis_server)
    with pytest.raises(Stopped):
        falls_short(worker, redis_server)
    assert client.letters()[0].failure.code == "result_incomplete"
    client.retry(job)
    for _ in range(2):  # as often as at first
        falls_short(worker, redis_server)
    assert client.status(job) is Status.PROCESSING
    worker.work(" the whole of it")
    assert client.text(job) == "the whole of it"


def test_retried_dead_letter_does_not_expire_in_the_middle_of_its_work(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, settings: Settings, ledger_clock: LedgerClock
) -> None:
    job = client.new()
    worker.fail()
    ledger_clock.advance(settings.retention.dead_letter_ttl_s - 10)
    client.retry(job)
    again = LedgerWorker(spans)
    held = again.claim()
    again.prepare(held)
    ledger_clock.advance(12)
    while spans.sweep():
        pass
    assert client.status(job) is Status.PROCESSING
    again.write(held, 0, " said after all", audio_s=10.0)
    again.finish(held)
    assert client.text(job) == "said after all"


def test_retried_dead_letter_is_joined_by_whoever_asks_for_the_same(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    client.retry(job)
    assert client.submit()[1] is Outcome.JOINED


def test_retried_dead_letter_takes_nobodys_place_in_the_cache(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    other = client.new()
    worker.work(" the other's words")
    client.retry(job)
    cached, outcome = client.submit()
    assert (outcome, cached.computation) == (Outcome.CACHED, other.computation)


def test_failed_retried_letter_leaves_a_newer_ones_place_alone(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    client.new()
    worker.work()
    client.retry(job)
    worker.fail()
    assert client.submit()[1] is Outcome.CACHED


def test_poison_file_that_is_retried_runs_alone(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    for _ in range(3):
        worker.claim()
        worker = dies(worker)
    client.retry(job)
    assert worker.claim().alone


def test_dropped_dead_letter_stays_failed(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    client.drop(job)
    assert client.letters() == ()
    assert client.status(job) is Status.FAILED
    assert nothing_for(worker)
