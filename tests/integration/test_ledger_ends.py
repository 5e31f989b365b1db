"""What the ledger keeps ends, and when: nothing early, and nothing left after a full life."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient, left_over
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from transcription.errors import DeadLetterNotFound, Fault, JobNotFound, LeaseLost, Stopped
from transcription.job import Failure, Job, Outcome, Status
from transcription.ledger.connections import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Retention, Settings
from transcription.webhook import Verdict

DAY_S = 86_400
TTL_S = 600
MARKS_S = 70
"""After so long the last mark of a deletion has ended by itself."""
ENDINGS = ("completed", "failed", "canceled", "cached", "left")
RECEIVER = "http://receiver.test/"
BOOM = Failure(code="engine_failed", message="boom", retryable=True)
CORRUPT = Failure(code="corrupt_audio", message="no sound in it", fault=Fault.INPUT)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(ledger={"url": redis_url}, lease=Lease(ttl_s=20), retention=Retention(tombstone_ttl_s=7 * DAY_S))


@pytest.fixture
def spans(settings: Settings, ledger_clock: LedgerClock) -> Iterator[RedisSpans]:
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


@pytest.fixture
def worker(spans: RedisSpans) -> LedgerWorker:
    spans.reap()
    return LedgerWorker(spans)


@pytest.fixture
def client(settings: Settings) -> LedgerClient:
    return LedgerClient(settings)


def end(client: LedgerClient, worker: LedgerWorker, ending: str, **options: Any) -> Job:
    """A job that has ended so: `cached` beside the one that was computed, `left` while another still waits."""
    if ending == "cached":
        client.new(**options)
        worker.work()
        job, outcome = client.submit(**options)
        assert outcome is Outcome.CACHED
        return job
    job = client.new(**options)
    if ending == "left":
        assert client.submit(**options)[1] is Outcome.JOINED
    if ending in ("canceled", "left"):
        client.cancel(job)
    elif ending == "failed":
        worker.spans.fail(worker.claim(), CORRUPT, retry_in_s=None)
    elif ending == "dead":
        worker.fail()
    else:
        worker.work()
    return job


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


def test_lease_lasts_as_long_as_it_says_and_each_sign_of_progress_prolongs_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new()
    held = worker.claim()
    worker.prepare(held)

    def pass_time(seconds: int) -> int:
        # Somebody reaps all the time: a pause would count as an outage, after which leases get time.
        back = 0
        for _ in range(seconds):
            ledger_clock.advance(1)
            back += spans.reap()
        return back

    assert pass_time(18) == 0
    assert spans.renew([held])[held.token].held
    assert pass_time(18) == 0
    worker.write(held, 0, " hello", audio_s=5.0)
    assert pass_time(18) == 0
    assert pass_time(4) == 1
    with pytest.raises(LeaseLost):
        worker.finish(held)


def test_after_a_pause_in_which_nobody_reaped_leases_get_half_their_length(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new()
    worker.claim()
    ledger_clock.advance(3600)
    assert spans.reap() == 0
    for _ in range(8):
        ledger_clock.advance(1)
        assert spans.reap() == 0
    ledger_clock.advance(4)
    assert spans.reap() == 1


def test_failed_attempt_waits_its_time(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new()
    spans.fail(worker.claim(), BOOM, retry_in_s=30)
    assert (spans.pending(), client.backlog().pending_spans) == (0, 0)
    ledger_clock.advance(28)
    assert spans.reap() == 0
    assert spans.claim("w1", models=("demo",), extras=True) is None
    ledger_clock.advance(4)
    assert spans.reap() == 1
    assert spans.pending() == 1
    assert worker.claim().attempt == 2


def test_worker_counts_while_its_heartbeats_come_and_is_forgotten_after_an_hour(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    assert [one.id for one in client.backlog().workers] == ["w1"]
    ledger_clock.advance(14)
    assert [one.id for one in client.backlog().workers] == ["w1"]
    ledger_clock.advance(3)
    assert client.backlog().workers == ()
    ledger_clock.advance(3500)
    spans.sweep()
    assert redis_server.exists("murmur:worker:w1")
    ledger_clock.advance(120)
    spans.sweep()
    assert not redis_server.exists("murmur:worker:w1", "murmur:workers")


def test_silent_worker_that_holds_a_span_is_not_forgotten(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    client.new()
    worker.claim()
    ledger_clock.advance(7200)
    spans.sweep()
    # What it held comes back when a process of its name starts: for that it must be known.
    assert redis_server.exists("murmur:worker:w1")


def test_departed_worker_leaves_nothing(worker: LedgerWorker, spans: RedisSpans, redis_server: Redis) -> None:
    spans.depart("w1")
    assert not redis_server.exists("murmur:worker:w1", "murmur:workers")


def test_lock_is_one_worker_s_for_its_time(spans: RedisSpans, ledger_clock: LedgerClock) -> None:
    assert spans.lock("x", seconds=60)
    assert not spans.lock("x", seconds=60)
    assert spans.lock("y", seconds=60)
    ledger_clock.advance(58)
    assert not spans.lock("x", seconds=60)
    ledger_clock.advance(4)
    assert spans.lock("x", seconds=60)


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


def test_revived_dead_letter_is_kept_until_it_has_ended_again(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "dead", ttl_s=TTL_S)
    client.retry(job)
    revived = client.get(job)
    assert (revived.status, revived.failure, revived.attempts) == (Status.QUEUED, None, 0)
    assert (revived.started_at, revived.completed_at, revived.expires_at) == (None, None, None)
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


def test_delivery_is_one_worker_s_for_its_lease_and_then_anybody_s(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    end(client, worker, "completed", webhook_url=RECEIVER)
    first = client.outbox(lambda box: box.claim(lease_s=25))
    assert first is not None
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(23)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(4)
    second = client.outbox(lambda box: box.claim(lease_s=25))
    assert second is not None
    assert (second.id, second.attempt, second.tries) == (first.id, 2, 2)
    # The first one was only slow: what it says now must not end what the second has in hand.
    settle(client, first, Verdict.DELIVERED, lost=True)
    settle(client, second, Verdict.FAILED, retry_in_s=60)
    ledger_clock.advance(58)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(4)
    third = client.outbox(lambda box: box.claim(lease_s=25))
    assert third is not None
    assert third.now - third.enqueued_at == pytest.approx(89, abs=5)
    settle(client, third, Verdict.DELIVERED)
    ledger_clock.advance(DAY_S)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None


def settle(
    client: LedgerClient, message: Any, outcome: Verdict, *, retry_in_s: float | None = None, lost: bool = False
) -> None:
    done = client.outbox(
        lambda box: box.settle(message, outcome, retry_in_s=retry_in_s, status=200, error="", took_s=0.1)
    )
    assert done is not lost


def test_receiver_that_wants_no_more_is_left_alone_for_a_week(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    end(client, worker, "completed", webhook_url=RECEIVER)
    message = client.outbox(lambda box: box.claim(lease_s=25))
    settle(client, message, Verdict.GONE)
    cached, _ = client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    log = client.outbox(lambda box: box.log(cached.id, tenant="default"))
    assert ([one.state for one in log.messages], [one.outcome for one in log.tries]) == (["gone"], [Verdict.GONE])
    ledger_clock.advance(7 * DAY_S - 60)
    client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    # Another receiver, and another tenant's receiver of that address, aren't meant.
    client.submit(webhook_url=RECEIVER + "other")
    assert client.outbox(lambda box: box.claim(lease_s=25)) is not None
    client.submit(webhook_url=RECEIVER, tenant="acme")
    assert client.outbox(lambda box: box.claim(lease_s=25)) is not None
    ledger_clock.advance(120)
    client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=DAY_S)) is not None


def test_log_of_deliveries_keeps_the_latest_fifty(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "completed", webhook_url=RECEIVER)
    for _ in range(55):
        message = client.outbox(lambda box: box.claim(lease_s=25))
        settle(client, message, Verdict.FAILED, retry_in_s=1)
        ledger_clock.advance(2)
    log = client.outbox(lambda box: box.log(job.id, tenant="default"))
    assert [one.attempt for one in log.tries] == list(range(6, 56))


def test_audio_that_another_job_needs_stays_when_a_job_is_deleted(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    one, two = client.new("a"), client.new("a", word_timestamps=True)
    assert client.forget(one) is None
    assert spans.holds_blob("a" * 64)
    assert client.forget(two) == "a" * 64
    assert not spans.holds_blob("a" * 64)


def test_decoded_sound_is_needed_while_there_is_work_on_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    job = client.new()
    assert spans.works_on(job.computation)
    held = worker.claim()
    assert spans.works_on(job.computation)
    worker.prepare(held)
    worker.finish(held)
    assert not spans.works_on(job.computation)
    assert not spans.works_on("unknown")


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
    LedgerWorker(spans, "w1", pid=2)  # its process died with the span in work
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
    for name in ("w1", "w2"):
        spans.depart(name)
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
    spans.depart("w1")
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
    spans.depart("w1")
    ledger_clock.advance(MARKS_S)
    assert left_over(ledger_clock.redis) == set()
    job = end(client, LedgerWorker(spans, "w1"), ending, webhook_url=RECEIVER, ttl_s=TTL_S)
    ledger_clock.advance(TTL_S + 10)
    spans.sweep()
    client.forget(job)
    spans.depart("w1")
    ledger_clock.advance(MARKS_S)
    assert left_over(ledger_clock.redis) == set()
