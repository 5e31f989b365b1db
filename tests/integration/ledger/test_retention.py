"""How long jobs, keys and dead letters are kept: to their time, and no longer."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import DAY_S, RECEIVER, TTL_S, end
from tests.ledger_steps import claim, complete, job, submission, submit
from tests.ledger_worker import LedgerWorker
from transcription.errors import DeadLetterNotFound, JobNotFound
from transcription.job import Outcome, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings

ENDINGS = ("completed", "failed", "canceled", "cached", "left")


def test_retention_turns_a_job_into_the_word_expired_and_then_into_nothing(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    done, _ = submit(settings, submission())
    complete(spans, claim(spans))
    redis_server.zadd("murmur:expiry", {done.id: 1})
    assert spans.sweep() == 1
    assert job(settings, done.id).status is Status.EXPIRED
    assert not spans.needed_audio(["a" * 64])
    assert submit(settings, submission())[1] is Outcome.NEW
    for key, member in (("expired", "default"), ("expired:default", done.id)):
        redis_server.zadd(f"murmur:{key}", {member: 1})
    spans.sweep()
    with pytest.raises(JobNotFound):
        job(settings, done.id)


@pytest.mark.parametrize("ending", ENDINGS)
def test_job_expires_when_its_time_is_over_and_not_before(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, ending: str
) -> None:
    job = end(client, worker, ending, ttl_s=TTL_S)
    ended = client.get(job)
    assert ended.completed_at is not None
    assert ended.expires_at == pytest.approx(ended.completed_at + TTL_S)
    ledger_clock.advance(TTL_S - 10)
    assert spans.sweep() == 0
    assert client.status(job) is ended.status
    ledger_clock.advance(20)
    assert spans.sweep() >= 1
    assert client.status(job) is Status.EXPIRED
    # The word `expired` is kept for a week, and then there is nothing.
    ledger_clock.advance(7 * DAY_S - 100)
    spans.sweep()
    assert client.status(job) is Status.EXPIRED
    assert job.id in client.listed()
    ledger_clock.advance(200)
    assert spans.sweep() >= 1
    with pytest.raises(JobNotFound):
        client.get(job)
    assert job.id not in client.listed()


def test_message_that_waits_to_be_sent_outlives_its_job_by_a_week_and_no_longer(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "completed", webhook_url=RECEIVER, ttl_s=TTL_S)
    ledger_clock.advance(TTL_S + 10)
    spans.sweep()
    ledger_clock.advance(7 * DAY_S - 100)
    spans.sweep()
    assert client.outbox(lambda box: box.claim(lease_s=5)).job_id == job.id
    ledger_clock.advance(200)
    spans.sweep()
    assert client.outbox(lambda box: box.claim(lease_s=5)) is None
    with pytest.raises(JobNotFound):
        client.get(job)


def test_job_is_kept_for_a_day_where_nobody_says_how_long(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "completed")
    ledger_clock.advance(DAY_S - 60)
    spans.sweep()
    assert client.text(job) == "hello world"
    ledger_clock.advance(120)
    spans.sweep()
    assert client.status(job) is Status.EXPIRED


def test_retention_begins_at_the_end_and_not_at_the_submit(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = client.new(ttl_s=TTL_S)
    ledger_clock.advance(2 * TTL_S)
    spans.sweep()
    assert client.status(job) is Status.QUEUED
    worker.work()
    spans.sweep()
    assert client.status(job) is Status.COMPLETED


def test_job_outlives_the_shorter_one_that_it_shares_a_computation_with(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    short, long = client.new(ttl_s=60), client.submit(ttl_s=DAY_S)[0]
    worker.work()
    ledger_clock.advance(120)
    spans.sweep()
    assert (client.status(short), client.status(long)) == (Status.EXPIRED, Status.COMPLETED)
    assert client.text(long) == "hello world"
    assert client.submit()[1] is Outcome.CACHED
    assert client.backlog().jobs[Status.EXPIRED] == 1


def test_idempotency_key_is_known_for_a_day_and_forgotten_then(client: LedgerClient, ledger_clock: LedgerClock) -> None:
    first = client.new(key="k")
    ledger_clock.advance(DAY_S - 60)
    assert client.submit(key="k") == (client.get(first), Outcome.REPEATED)
    ledger_clock.advance(120)
    assert client.submit(key="k")[1] is Outcome.JOINED


def test_idempotency_key_of_a_deleted_job_is_free_again(client: LedgerClient) -> None:
    first = client.new(key="k")
    client.forget(first)
    second = client.new("b", key="k")
    assert client.submit("b", key="k") == (client.get(second), Outcome.REPEATED)


def test_dead_letter_is_kept_for_its_own_time_whatever_its_job_s(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "dead", ttl_s=TTL_S)
    ledger_clock.advance(30 * DAY_S - 100)
    spans.sweep()
    assert [letter.computation for letter in client.letters()] == [job.computation]
    assert client.status(job) is Status.FAILED
    ledger_clock.advance(200)
    spans.sweep()
    assert client.letters() == ()
    with pytest.raises(DeadLetterNotFound):
        client.retry(job)


def test_dropped_dead_letter_is_kept_as_long_as_its_job(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "dead", ttl_s=TTL_S)
    client.drop(job)
    ledger_clock.advance(TTL_S + 10)
    spans.sweep()
    assert client.status(job) is Status.EXPIRED


def test_dead_letter_goes_with_its_last_ticket(client: LedgerClient, worker: LedgerWorker) -> None:
    job = end(client, worker, "dead", ttl_s=TTL_S)
    client.forget(job)
    assert client.letters() == ()
    with pytest.raises(DeadLetterNotFound):
        client.retry(job)


def test_retried_dead_letter_is_kept_until_it_has_ended_again(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "dead", ttl_s=TTL_S)
    client.retry(job)
    retried = client.get(job)
    assert (retried.status, retried.failure, retried.attempts) == (Status.QUEUED, None, 0)
    assert (retried.started_at, retried.completed_at, retried.expires_at) == (None, None, None)
    ledger_clock.advance(2 * TTL_S)
    spans.sweep()
    assert client.status(job) is Status.QUEUED
    worker.work()
    ledger_clock.advance(TTL_S - 10)
    spans.sweep()
    assert client.status(job) is Status.COMPLETED
    ledger_clock.advance(20)
    spans.sweep()
    assert client.status(job) is Status.EXPIRED
