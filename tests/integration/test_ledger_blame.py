"""Whose turn it is, and whose fault: order, attempts, suspects, dead letters, and what an old worker may write."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from transcription.computation import Claim
from transcription.errors import Fault, JobFinished, LeaseLost, Stopped
from transcription.job import Failure, Outcome, Status
from transcription.ledger.connections import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Settings

BOOM = Failure(code="engine_failed", message="boom", retryable=True)
CORRUPT = Failure(code="corrupt_audio", message="no sound in it", fault=Fault.INPUT)
THIRDS = (4.0, 7.0, 10.0)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(ledger={"url": redis_url}, lease=Lease(ttl_s=20, max_attempts=3))


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


def nothing_for(worker: LedgerWorker, *, extras: bool = True) -> bool:
    return worker.spans.claim(worker.name, models=("demo",), extras=extras) is None


def dies(worker: LedgerWorker) -> LedgerWorker:
    """Its process is gone, and another one has its name."""
    return LedgerWorker(worker.spans, worker.name, pid=worker.pid + 1)


# ---------------------------------------------------------------- order


def test_span_that_comes_back_keeps_its_place(client: LedgerClient, worker: LedgerWorker, spans: RedisSpans) -> None:
    jobs = [client.new(letter) for letter in "abc"]
    first = worker.claim()
    spans.release(first)
    assert client.get(jobs[1]).queue.position == 1  # type: ignore[union-attr]
    assert [worker.claim().audio_sha256[0] for _ in "abc"] == ["a", "b", "c"]


def test_retried_span_goes_before_what_came_after_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new("a")
    spans.fail(worker.claim(), BOOM, retry_in_s=5)
    client.new("b")
    ledger_clock.advance(7)
    spans.reap()
    assert [worker.claim().audio_sha256[0] for _ in "ab"] == ["a", "b"]


def test_batch_waits_behind_interactive_extras_too(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    client.new("a", priority="batch")
    worker.prepare(worker.claim(), THIRDS)
    ledger_clock.advance(5)
    client.new("b")
    worker.prepare(worker.claim(), THIRDS)
    client.new("c", priority="batch")
    client.new("d")
    order = [worker.claim().audio_sha256[0] for _ in range(6)]
    assert order == ["d", "c", "b", "b", "a", "a"]


def test_batch_ticket_that_joins_slows_nobody(client: LedgerClient, worker: LedgerWorker) -> None:
    client.new("a")
    client.new("b", priority="batch")
    assert client.submit("a", priority="batch")[1] is Outcome.JOINED
    assert worker.claim().audio_sha256[0] == "a"
    assert client.backlog().waiting["batch"].recordings == 1


def test_hurried_recording_is_worked_on_once_all_of_it(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new("a", priority="batch")
    held = worker.claim()
    worker.prepare(held, THIRDS)
    client.submit("a")
    for one in (held, worker.claim(), worker.claim()):
        worker.finish(one)
    assert client.status(job) is Status.COMPLETED
    assert nothing_for(worker)


def test_tenant_with_less_running_goes_first_and_running_ends(client: LedgerClient, worker: LedgerWorker) -> None:
    client.new("a", tenant="greedy", seconds=100.0)
    held = worker.claim()
    for letter in "bcd":
        client.new(letter, tenant="greedy", seconds=10.0)
    client.new("e", tenant="modest", seconds=20.0)
    client.new("f", tenant="modest", seconds=20.0)
    assert worker.claim().audio_sha256[0] == "e"
    assert worker.claim().audio_sha256[0] == "f"  # 20 s running against 100 s
    client.new("g", tenant="modest", seconds=20.0)
    worker.prepare(held, (100.0,))
    worker.finish(held)
    assert worker.claim().audio_sha256[0] == "b"  # nothing running against 40 s


def test_what_is_written_weighs_no_more(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, redis_server: Redis
) -> None:
    client.new("a", tenant="long", seconds=100.0)
    held = worker.claim()
    assert redis_server.hget("murmur:running", "long") == "100000"
    worker.prepare(held, (100.0,))
    worker.write(held, 0, " most of it", audio_s=90.0)
    spans.release(held)
    worker.claim()
    assert redis_server.hgetall("murmur:running") == {"long": "10000"}


# ---------------------------------------------------------------- attempts and their pauses


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


# ---------------------------------------------------------------- whose fault a death is


def test_lonely_span_of_a_dead_process_is_charged_until_it_is_a_dead_letter(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    job = client.new()
    for attempt in (1, 2, 3):
        held = worker.claim()
        assert (held.attempt, held.suspect, held.alone) == (attempt, attempt > 1, attempt == 3)
        worker = dies(worker)
    failed = client.get(job)
    assert failed.failure is not None
    assert (failed.status, failed.failure.code, failed.failure.retryable) == (Status.FAILED, "worker_lost", True)
    assert [letter.computation for letter in client.letters()] == [job.computation]
    assert nothing_for(worker)


def test_neighbours_of_a_dead_process_are_never_charged(client: LedgerClient, worker: LedgerWorker) -> None:
    for letter in "abc":
        client.new(letter)
    claims = [worker.claim() for _ in "abc"]
    worker = dies(worker)
    for _ in claims:
        suspect = worker.claim()
        assert (suspect.suspect, suspect.alone, suspect.attempt) == (True, False, 1)
        assert nothing_for(worker)
        worker.finish(suspect)
    client.new("d")
    assert not worker.claim().suspect


def test_suspect_is_charged_and_its_good_neighbours_come_back_as_they_were(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter in "ab":
        client.new(letter)
    for _ in "ab":
        worker.claim()
    worker = dies(worker)
    for letter in "cd":
        client.new(letter)
    taken = [worker.claim() for _ in "acd"]
    assert [held.suspect for held in taken] == [True, False, False]
    one = taken[0].audio_sha256[0]
    (other,) = {"a", "b"} - {one}
    worker = dies(worker)
    again = [worker.claim() for _ in "bcd"]
    assert {held.audio_sha256[0]: held.suspect for held in again} == {other: True, "c": False, "d": False}
    assert {held.attempt for held in again} == {1}
    worker.finish(again[0])
    charged = worker.claim()
    assert (charged.audio_sha256[0], charged.suspect, charged.alone, charged.attempt) == (one, True, False, 2)


def test_suspect_that_comes_past_its_crash_is_one_no_more_and_must_come_further_after_each(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis
) -> None:
    client.new("a")
    held = worker.claim()
    worker.prepare(held, (600.0,))
    for neighbour, windows in zip("bcd", (1, 4, 16), strict=True):
        client.new(neighbour)
        worker.claim()
        worker = dies(worker)
        while (held := worker.claim()).audio_sha256[0] != "a":
            worker.finish(held)
        assert held.suspect
        for window in range(held.windows_done, held.windows_done + windows):
            assert redis_server.exists("murmur:suspect:w1")
            worker.write(held, window, " word", audio_s=1.0 + window)
        assert not redis_server.exists("murmur:suspect:w1")
        spans_left = worker.spans.claim(worker.name, models=("demo",), extras=True)
        if spans_left:
            worker.finish(spans_left)
    assert held.attempt == 1


def test_last_attempt_of_a_suspect_has_nothing_beside_it(client: LedgerClient, worker: LedgerWorker) -> None:
    client.new("a")
    worker.claim()
    worker = dies(worker)
    worker.claim()
    worker = dies(worker)
    client.new("b")
    last = worker.claim()
    assert (last.audio_sha256[0], last.alone, last.attempt) == ("a", True, 3)
    assert nothing_for(worker)
    worker.finish(last)
    assert worker.claim().audio_sha256[0] == "b"


def test_interactive_suspects_go_before_batch_ones_and_interactive_work_before_batch_suspects(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    client.new("a", priority="batch")
    client.new("b")
    for _ in "ab":
        worker.claim()
    worker = dies(worker)
    client.new("c")
    assert [worker.claim().audio_sha256[0] for _ in "bc"] == ["b", "c"]


def test_suspects_are_run_in_the_order_of_their_deaths(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    other = LedgerWorker(spans, "w2")
    client.new("b")
    other.claim()
    client.new("a")
    worker.claim()
    other = dies(other)
    ledger_clock.advance(1)
    worker = dies(worker)
    spans.register(worker.info)
    assert [worker.claim().audio_sha256[0], other.claim().audio_sha256[0]] == ["b", "a"]


def test_suspect_that_is_handed_back_is_still_a_suspect(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    for letter in "ab":
        client.new(letter)
    worker.claim()
    worker.claim()
    worker = dies(worker)
    first = worker.claim()
    spans.release(first)
    again = worker.claim()
    assert again.suspect
    assert nothing_for(worker)
    # It came to its end and is innocent: this worker takes the next one.
    worker.finish(again)
    assert worker.claim().suspect


def test_worker_takes_company_again_once_its_suspect_has_failed_or_was_handed_back(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    client.new("a")
    worker.claim()
    worker = dies(worker)
    spans.fail(worker.claim(), BOOM, retry_in_s=60)
    for letter in "bc":
        client.new(letter)
    assert [worker.claim().suspect for _ in "bc"] == [False, False]


def test_hurrying_a_suspect_leaves_it_one(client: LedgerClient, worker: LedgerWorker) -> None:
    client.new("a", priority="batch")
    worker.claim()
    worker = dies(worker)
    client.new("b")
    client.submit("a")
    held = worker.claim()
    assert (held.audio_sha256[0], held.suspect) == ("a", True)


def test_one_busy_worker_at_a_time_makes_room_for_a_suspect_s_last_attempt(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    solitary(client, worker)
    busy = [LedgerWorker(spans, name) for name in ("w2", "w3")]
    for letter in "bcdef":
        client.new(letter)
    held = [one.claim() for one in busy]  # the first takes it, the second an ordinary one
    assert (held[0].alone, held[1].alone) == (True, False)
    busy[0].spans.release(held[0])
    spans.depart("w2")
    assert nothing_for(busy[1])  # it runs empty for the suspect
    assert LedgerWorker(spans, "w4").claim().alone
    # No such suspect is left, so nobody runs empty any more.
    assert not busy[1].claim().suspect


def solitary(client: LedgerClient, worker: LedgerWorker) -> LedgerWorker:
    """A suspect before its last attempt; the worker that lost it twice."""
    client.new("a")
    for _ in range(2):
        worker.claim()
        worker = dies(worker)
    return worker


@pytest.mark.parametrize("departs", [True, False])
def test_drainer_that_is_gone_is_waited_for_no_longer(
    client: LedgerClient, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis, departs: bool
) -> None:
    busy = LedgerWorker(spans, "w2")
    client.new("b")
    busy.claim()
    solitary(client, LedgerWorker(spans, "w1"))
    assert nothing_for(busy)
    if departs:
        spans.depart("w2")
    else:
        ledger_clock.advance(59)
        assert redis_server.exists("murmur:drainer")
        ledger_clock.advance(2)
    assert not redis_server.exists("murmur:drainer")


def test_suspect_of_a_model_that_a_worker_lacks_stands_in_nobodys_way(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, settings: Settings
) -> None:
    client.new("a")
    worker.claim()
    client.new("b")
    worker.claim()
    worker = dies(worker)
    assert spans.claim("w9", models=("another",), extras=True) is None
    assert worker.claim().suspect


def test_any_number_of_suspects_that_suit_nobody_hide_no_other(client: LedgerClient, worker: LedgerWorker) -> None:
    letters = [chr(code) for code in range(ord("A"), ord("A") + 52)]
    for letter in letters:
        client.new(letter, language="de")
    for _ in letters:
        worker.claim()
    worker = dies(worker)
    client.new("b", language="en")
    client.new("c", language="en")
    taken = [worker.spans.claim("w7", models=("demo",), extras=True, traits=("language=en",)) for _ in range(2)]
    assert [one.audio_sha256[0] for one in taken if one] == ["b", "c"]
    LedgerWorker(worker.spans, "w7", pid=1)
    LedgerWorker(worker.spans, "w7", pid=2)
    found = [worker.spans.claim(f"w{n}", models=("demo",), extras=True, traits=("language=en",)) for n in (7, 8)]
    assert {one.audio_sha256[0] for one in found if one} == {"b", "c"}


# ---------------------------------------------------------------- dead letters


def test_revived_dead_letter_begins_anew_and_keeps_what_was_written(
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
    again = [worker.claim(), worker.claim()]
    assert {(one.index, one.attempt, one.windows_done) for one in again} == {(1, 1, 1), (2, 1, 0)}
    assert nothing_for(worker)
    for one in again:
        worker.finish(one)
    assert client.status(job) is Status.COMPLETED
    assert client.text(job) == "one two"
    assert client.get(job).progress.fraction == 1.0


def test_revived_dead_letter_is_joined_by_whoever_asks_for_the_same(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    client.retry(job)
    assert client.submit()[1] is Outcome.JOINED


def test_revived_dead_letter_takes_nobodys_place_in_the_cache(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    other = client.new()
    worker.work(" the other's words")
    client.retry(job)
    cached, outcome = client.submit()
    assert (outcome, cached.computation) == (Outcome.CACHED, other.computation)


def test_failed_revived_letter_leaves_a_newer_ones_place_alone(client: LedgerClient, worker: LedgerWorker) -> None:
    job = client.new()
    worker.fail()
    client.new()
    worker.work()
    client.retry(job)
    worker.fail()
    assert client.submit()[1] is Outcome.CACHED


def test_poison_file_that_is_revived_runs_alone(client: LedgerClient, worker: LedgerWorker) -> None:
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


# ---------------------------------------------------------------- what a worker that was too slow may still do


def _prepare(worker: LedgerWorker, held: Claim) -> None:
    worker.prepare(held)


def _write(worker: LedgerWorker, held: Claim) -> None:
    worker.write(held, 0, " stale", audio_s=10.0)


def _finish(worker: LedgerWorker, held: Claim) -> None:
    worker.finish(held)


def _fail(worker: LedgerWorker, held: Claim) -> None:
    worker.spans.fail(held, CORRUPT, retry_in_s=None)


WRITES = [_prepare, _write, _finish, _fail]


@pytest.mark.parametrize("write", WRITES)
def test_worker_that_lost_its_span_changes_nothing(
    client: LedgerClient, worker: LedgerWorker, write: Callable[[LedgerWorker, Claim], None]
) -> None:
    job = client.new()
    old = worker.claim()
    heir = dies(worker)
    with pytest.raises(LeaseLost):
        write(worker, old)
    new = heir.claim()
    with pytest.raises(LeaseLost):
        write(worker, old)
    worker.spans.release(old)
    assert not worker.spans.renew([old])[old.token].held
    assert worker.spans.renew([old, new])[new.token].held
    heir.prepare(new)
    heir.write(new, 0, " fresh", audio_s=10.0)
    heir.finish(new)
    assert client.text(job) == "fresh"
    assert client.status(job) is Status.COMPLETED


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("end", ["canceled", "failed", "deleted"])
def test_worker_of_what_nobody_wants_any_more_is_told_to_stop(
    client: LedgerClient, worker: LedgerWorker, end: str, write: Callable[[LedgerWorker, Claim], None]
) -> None:
    job = client.new()
    held = worker.claim()
    worker.prepare(held, THIRDS)
    extra = worker.claim()
    if end == "failed":
        worker.spans.fail(extra, CORRUPT, retry_in_s=None)
    else:
        (client.cancel if end == "canceled" else client.forget)(job)
    assert not worker.spans.renew([held])[held.token].wanted
    with pytest.raises(Stopped):
        write(worker, held)
    assert nothing_for(worker)
    assert client.backlog().running_spans == 0


def test_job_is_canceled_once(client: LedgerClient, worker: LedgerWorker) -> None:
    one = client.new()
    other, _ = client.submit()
    client.cancel(one)
    with pytest.raises(JobFinished):
        client.cancel(one)
    assert client.backlog().jobs[Status.CANCELED] == 1
    worker.work()
    with pytest.raises(JobFinished):
        client.cancel(other)


# ---------------------------------------------------------------- progress


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
