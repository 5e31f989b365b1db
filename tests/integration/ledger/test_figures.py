"""The ledger's figures: what is counted, measured and told to operators, over a life of every kind of job."""

from dataclasses import replace

import pytest

from api.metrics.ledger import LedgerFigures
from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from transcription.computation import Timing
from transcription.job import Failure, Status
from transcription.ledger.span_store import RedisSpans
from transcription.options import Priority
from transcription.settings import Settings
from transcription.webhook import Verdict

BOOM = Failure(code="engine_failed", message="boom", retryable=True)
SPEECH = Timing(audio_s=10.0, decode_s=0.25, vad_s=0.5, compute_s=2.0)


def finish(worker: LedgerWorker) -> None:
    held = worker.claim()
    worker.prepare(held)
    worker.spans.finish(held, SPEECH)


def test_every_deed_is_counted_once(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new("a", webhook_url="http://receiver.test/")
    client.submit("a")
    finish(worker)
    client.submit("a")
    message = client.outbox(lambda box: box.claim(lease_s=5))
    assert message is not None
    client.outbox(lambda box: box.settle(message, Verdict.DELIVERED, retry_in_s=None, status=200, error="", took_s=0.1))
    client.cancel(client.new("b"))
    client.new("c")
    spans.release(worker.claim())
    spans.fail(worker.claim(), BOOM, retry_in_s=1)
    ledger_clock.advance(2)
    spans.reap()
    worker.claim()
    worker = LedgerWorker(spans, "w1", pid=2)
    worker.fail()
    backlog = client.backlog()
    assert {name: count for name, count in backlog.counters.items() if not name.endswith("_ms")} == {
        "submitted": 5, "new": 3, "joined": 1, "cached": 1, "claimed": 5, "released": 1, "retried": 1, "reaped": 1,
        "canceled": 1, "computations_completed": 1, "computations_failed": 1, "computations_canceled": 1,
        "webhooks_delivered": 1,
    }  # fmt: skip
    assert backlog.failures == {"engine_failed": 1}
    assert {status: count for status, count in backlog.jobs.items() if count} == {
        Status.COMPLETED: 3,
        Status.CANCELED: 1,
        Status.FAILED: 1,
    }
    times = {name: backlog.counters[f"{name}_ms"] for name in ("audio", "decode", "vad", "compute")}
    assert times == {"audio": 10_000, "decode": 250, "vad": 500, "compute": 2000}


def test_webhooks_that_wait_that_nobody_sends_and_that_were_given_up_are_counted(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    for sha in "ab":
        client.new(sha, webhook_url="http://receiver.test/")
        finish(worker)

    def waiting() -> tuple[int, int]:
        seen = client.backlog()
        return seen.messages, seen.messages_overdue

    assert waiting() == (2, 0)
    ledger_clock.advance(61)
    assert waiting() == (2, 2)

    def try_one(retry_in_s: float | None) -> None:
        message = client.outbox(lambda box: box.claim(lease_s=5))
        assert message is not None
        client.outbox(
            lambda box: box.settle(message, Verdict.FAILED, retry_in_s=retry_in_s, status=500, error="", took_s=0.1)
        )

    try_one(600)
    try_one(None)
    assert waiting() == (1, 0)
    counters = client.backlog().counters
    assert (counters["webhooks_failed"], counters["webhooks_given_up"]) == (2, 1)


def test_a_claim_says_how_long_its_recording_has_waited_and_a_retried_dead_letter_says_it_once(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new("a", priority="interactive")
    ledger_clock.advance(40)
    first = worker.claim()
    assert first.priority is Priority.INTERACTIVE
    assert first.waited_s == first.age_s == pytest.approx(40, abs=5)
    spans.release(first)
    ledger_clock.advance(10)
    again = worker.claim()
    assert again.waited_s is None
    assert again.age_s == pytest.approx(50, abs=5)
    spans.fail(again, BOOM, retry_in_s=None)
    (letter,) = client.letters()
    client.ask(lambda jobs: jobs.retry(letter.computation))
    retried = worker.claim()
    assert (retried.waited_s, retried.age_s) == (None, None)


def test_waits_and_whole_times_are_measured_by_class_and_once(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    client.new("a", priority="batch")
    ledger_clock.advance(40)
    held = worker.claim()
    ledger_clock.advance(100)
    worker.finish(held)
    client.new("b")
    ledger_clock.advance(3)
    worker.fail()
    (letter,) = client.letters()
    client.ask(lambda jobs: jobs.retry(letter.computation))
    ledger_clock.advance(1000)
    finish(worker)
    latencies = client.backlog().latencies

    def counted(name: str, priority: Priority) -> tuple[list[str], float]:
        latency = latencies[name, priority]
        first = [bound for bound, count in latency.buckets if count]
        assert {count for _, count in latency.buckets} <= {0, 1}
        return first[:1], round(latency.sum_s, -1)

    assert counted("wait", Priority.BATCH) == (["60.0"], 40.0)
    assert counted("transcript", Priority.BATCH) == (["300.0"], 140.0)
    assert counted("wait", Priority.INTERACTIVE) == (["5.0"], 0.0)
    # A revived one would say for how long it had been dead.
    assert counted("transcript", Priority.INTERACTIVE) == ([], 0.0)


def test_backlog_says_what_waits_of_each_class_and_how_old_it_is(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new("a", seconds=100.0)
    held = worker.claim()
    worker.prepare(held, (40.0, 100.0))
    ledger_clock.advance(50)
    client.new("b", priority="batch", seconds=30.0)
    ledger_clock.advance(20)
    client.new("c", seconds=7.0)
    ledger_clock.advance(10)
    backlog = client.backlog()
    assert (backlog.pending_spans, backlog.pending_audio_s, backlog.running_spans) == (3, 97.0, 1)
    assert backlog.running_audio_s == 40.0
    assert backlog.oldest_age_s == pytest.approx(30, abs=3)
    waiting = {name: (one.recordings, one.audio_s) for name, one in backlog.waiting.items()}
    assert waiting == {Priority.INTERACTIVE: (1, 67.0), Priority.BATCH: (1, 30.0)}
    ages = {name: one.oldest_age_s for name, one in backlog.waiting.items()}
    assert ages == {Priority.INTERACTIVE: pytest.approx(10, abs=3), Priority.BATCH: pytest.approx(30, abs=3)}
    # What was begun and comes back is no older than its neighbours: nobody waits for its first words.
    spans.release(held)
    assert client.backlog().waiting[Priority.INTERACTIVE].oldest_age_s == pytest.approx(10, abs=3)


def test_workers_and_lanes_are_told_with_their_speeds(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    LedgerWorker(spans, "w2", rate=None)
    LedgerWorker(spans, "w3", rate=4.5)
    client.new("a")
    worker.claim()
    client.new("b")
    backlog = client.backlog()
    assert {one.id: (one.rate, one.running) for one in backlog.workers} == {
        "w1": (2.0, 1),
        "w2": (None, 0),
        "w3": (4.5, 0),
    }
    lane = backlog.lanes["demo"]
    assert (lane.workers, lane.rate, lane.unserved) == (3, 6.5, 0)
    ledger_clock.advance(60)
    lane = client.backlog().lanes["demo"]
    assert (lane.workers, lane.rate, lane.unserved) == (0, 0.0, 1)


def test_what_is_claimed_is_told_until_it_is_transcribed_and_so_is_who_has_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    """What an autoscaler adds to the queue: audio in work is work still to be done."""

    def figures() -> dict[str, float]:
        collected = LedgerFigures(client.backlog(), None).collect()
        return {family.name: family.samples[0].value for family in collected if len(family.samples) == 1}

    LedgerWorker(spans, "w2", rate=None)
    LedgerWorker(spans, "w3", rate=4.0)
    client.new("a", seconds=100.0)
    before = figures()
    assert (before["murmur_running_audio_seconds"], before["murmur_workers_busy"]) == (0, 0)
    # The mean is of those that have measured themselves: 2 and 4.
    assert before["murmur_worker_speed_audio_seconds_per_second"] == 3
    claim = worker.claim()
    held = figures()
    assert (held["murmur_running_audio_seconds"], held["murmur_workers_busy"]) == (100, 1)
    worker.finish(claim)
    after = figures()
    assert (after["murmur_running_audio_seconds"], after["murmur_workers_busy"]) == (0, 0)


def test_a_worker_that_finishes_what_it_holds_before_it_ends_is_no_longer_counted_on(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    client.new("a")
    worker.claim()
    client.new("b")
    spans.register(replace(worker.info, draining=True))
    backlog = client.backlog()
    assert [(one.running, one.draining) for one in backlog.workers] == [(1, True)]
    assert backlog.lanes["demo"].workers == 0
    busy = next(one for one in LedgerFigures(backlog, None).collect() if one.name == "murmur_workers_busy")
    assert busy.samples[0].value == 0


def test_audit_stream_tells_every_move_and_no_more_than_its_length(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, settings: Settings, ledger_clock: LedgerClock
) -> None:
    client.new("a")
    finish(worker)
    told = [entry["what"] for _, entry in ledger_clock.redis.xrange("murmur:audit")]
    assert told == ["accepted", "claimed", "processing", "prepared", "finished", "completed"]
    client.cancel(client.new("b"))
    told = [entry["what"] for _, entry in ledger_clock.redis.xrange("murmur:audit")][6:]
    assert told == ["accepted", "job canceled", "canceled", "dropped"]
    silent = LedgerClient(
        settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"audit_length": 0})})
    )
    silent.new("c")
    assert ledger_clock.redis.xlen("murmur:audit") == 10
