"""Attempts: what counts as one, how long a failed one waits, and how progress is counted meanwhile."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM, CORRUPT
from tests.ledger_steps import claim, submission, submit
from tests.ledger_worker import MODELS, LedgerWorker, nothing_for
from transcription.errors import Fault
from transcription.job import Failure, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings

THIRDS = (4.0, 7.0, 10.0)
SICK = Failure(code="storage_unavailable", message="no disk", retryable=True, fault=Fault.PLATFORM)


def test_a_released_span_is_claimed_again_at_once_without_counting_an_attempt(
    settings: Settings, spans: RedisSpans
) -> None:
    submit(settings, submission())
    spans.release(claim(spans))
    assert claim(spans, "w2").attempt == 1


def test_a_failed_attempt_waits_and_is_tried_again(settings: Settings, spans: RedisSpans, redis_server: Redis) -> None:
    submit(settings, submission())
    spans.reap()
    spans.fail(claim(spans), Failure(code="engine_failed", message="boom", retryable=True), retry_in_s=60)
    assert spans.claim("w1", models=MODELS, extras=True) is None
    redis_server.zadd("murmur:delayed", {redis_server.zrange("murmur:delayed", 0, 0)[0]: 1})
    spans.reap()
    assert claim(spans).attempt == 2


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


@pytest.mark.parametrize("retryable", [True, False])
def test_only_what_isn_t_the_input_s_fault_becomes_a_dead_letter(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, retryable: bool
) -> None:
    job = client.new()
    spans.fail(worker.claim(), BOOM if retryable else CORRUPT, retry_in_s=None)
    failed = client.get(job)
    assert failed.failure == (BOOM if retryable else CORRUPT)
    assert [letter.computation for letter in client.letters()] == [job.computation] * retryable
    assert client.backlog().dead == int(retryable)


def test_attempts_are_counted_up_and_told(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = client.new()
    for attempt in (1, 2, 3):
        held = worker.claim()
        assert held.attempt == attempt
        assert client.get(job).attempts == attempt
        spans.fail(held, BOOM, retry_in_s=5)
        assert nothing_for(worker)
        ledger_clock.advance(6)
        assert spans.reap() == 1
        assert spans.reap() == 0


def test_further_spans_go_on_while_the_first_waits_for_its_next_attempt(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    client.new()
    held = worker.claim()
    worker.prepare(held, THIRDS)
    spans.fail(held, BOOM, retry_in_s=60)
    # Nobody is on the recording: its next span is for every worker, not for idle ones alone.
    assert not nothing_for(worker, extras=False)


def test_progress_is_never_beyond_the_truth_and_reaches_its_end(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new(seconds=12.0)  # the container's word; in truth it is 10 s

    def done() -> tuple[float, float]:
        progress = client.get(job).progress
        return progress.audio_seconds_done, progress.audio_seconds_total

    held = worker.claim()
    assert done() == (0.0, 12.0)
    worker.prepare(held, THIRDS)
    worker.prepare(held, (5.0, 10.0))  # it was cut already
    assert done() == (0.0, 10.0)
    worker.write(held, 0, " one", audio_s=2.0)
    worker.write(held, 0, " one again", audio_s=2.0)
    assert done() == (2.0, 10.0)
    worker.write(held, 1, " two", audio_s=3.5)
    assert done() == (3.5, 10.0)
    worker.finish(held)
    assert done() == (4.0, 10.0)
    assert client.status(job) is Status.PROCESSING
    second = worker.claim()
    worker.write(second, 0, " three", audio_s=3.0)
    assert done() == (7.0, 10.0)
    worker.finish(second)
    third = worker.claim()
    assert (third.index, third.language) == (2, "en")
    worker.finish(third)
    ended = client.get(job)
    assert (done(), ended.status, ended.compute_s) == ((10.0, 10.0), Status.COMPLETED, 1.5)
    assert client.text(job) == "one two three"


def test_a_worker_leaves_what_it_had_a_fault_with_to_another_as_long_as_there_is_one(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    other = LedgerWorker(spans, "w2")
    client.new()
    spans.fail(worker.claim(), SICK, retry_in_s=1)
    ledger_clock.advance(2)
    spans.reap()
    assert nothing_for(worker)
    spans.fail(other.claim(), SICK, retry_in_s=1)
    ledger_clock.advance(2)
    spans.reap()
    # Both had one: whoever comes first takes it, and it has cost no attempt.
    assert worker.claim().attempt == 1


def test_an_error_s_endless_text_fills_no_ledger(client: LedgerClient, worker: LedgerWorker, spans: RedisSpans) -> None:
    job = client.new()
    failure = Failure(code="engine_failed", message="boom " * 10_000, retryable=False)
    spans.fail(worker.claim(), failure, retry_in_s=None)
    told = client.get(job).failure
    assert told is not None
    assert told.message.startswith("boom boom")
    assert len(told.message) <= 2000
