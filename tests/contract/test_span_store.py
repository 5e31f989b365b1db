"""One contract for every SpanStore: the ledger, on each server and on fakeredis, and the double for workers' parts."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.contract.ledgers import LEDGERS, beyond_fakeredis, ledger_of
from tests.memory_spans import MemorySpans
from transcription.computation import Claim, Timing
from transcription.errors import LeaseLost, NameTaken, Stopped
from transcription.job import Audio, Failure, Submission
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options, Priority
from transcription.ports import SpanStore, WorkerInfo
from transcription.spans import Piece, Span
from transcription.transcript import Segment

BOOM = Failure(code="engine_failed", message="boom", retryable=True)
TIMING = Timing(audio_s=10.0, compute_s=1.0)
THIRDS = tuple(Piece(Span(a, b), (Span(a, b),)) for a, b in ((0.0, 4.0), (4.0, 7.0), (7.0, 10.0)))
INFO = WorkerInfo(
    id="w1", models=("demo",), engine="none", device="cpu", compute_type="int8", slots=1, host="here", pid=1,
    started_at=1.0, rate=2.0,
)  # fmt: skip


@dataclass
class Bench:
    """A store, and how a client hands a job in."""

    spans: SpanStore
    submit: Callable[[Submission], None]

    def new(self, letter: str = "a", **options: Any) -> Submission:
        """A job on a recording that is told apart by one letter."""
        made = Submission(
            job_id=uuid.uuid4().hex,
            tenant="default",
            audio=Audio(sha256=letter * 64, bytes=1000, duration_s=10.0, filename=f"{letter}.wav"),
            model="demo",
            revision="1",
            options=Options(**options),
        )
        self.submit(made)
        return made

    def claim(self, worker: str = "w1", *, extras: bool = True) -> Claim:
        """The next span, which there must be."""
        found = self.spans.claim(worker, models=("demo",), extras=extras)
        assert found is not None
        return found

    def nothing(self, *, extras: bool = True) -> bool:
        """Whether nothing can be claimed now."""
        return self.spans.claim("w1", models=("demo",), extras=extras) is None

    def prepare(self, claim: Claim, pieces: tuple[Piece, ...] = THIRDS) -> None:
        self.spans.prepared(claim, pieces, language="en", probability=0.9)


@pytest.fixture(params=["memory", *LEDGERS])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "memory":
        memory = MemorySpans()
        memory.register(INFO)
        yield Bench(memory, lambda submission: memory.accept(submission) and None)
        return
    ledger = ledger_of(request, request.param)

    def submit(submission: Submission) -> None:
        async def run() -> None:
            jobs = RedisJobs(ledger.async_client(), ledger.settings)
            await jobs.submit(submission)
            await jobs.close()

        asyncio.run(run())

    with ledger.client() as client:
        spans = RedisSpans(client, ledger.settings)
        spans.reap()
        spans.register(INFO)
        yield Bench(spans, submit)


def test_spans_are_claimed_oldest_first_with_tokens_that_grow(bench: Bench) -> None:
    assert bench.nothing()
    one, two = bench.new("a"), bench.new("b")
    assert bench.spans.pending() == 2
    assert bench.spans.claim("w1", models=("another",), extras=True) is None
    first, second = bench.claim(), bench.claim()
    assert [first.audio_sha256, second.audio_sha256] == [one.audio.sha256, two.audio.sha256]
    assert second.token > first.token
    assert (first.span, first.attempt, first.whole, first.suspect) == (Span(0.0, 10.0), 1, True, False)
    assert bench.nothing()
    assert bench.spans.pending() == 0


def test_cut_recording_is_finished_with_its_last_span(bench: Bench) -> None:
    bench.new()
    held = bench.claim()
    bench.prepare(held)
    assert bench.nothing(extras=False)  # others take further spans only where they are idle
    extra = bench.claim("w2")
    assert (extra.index, extra.span, extra.language, extra.whole) == (1, Span(4.0, 7.0), "en", False)
    last = bench.claim("w2")
    assert [bench.spans.finish(one, TIMING) for one in (last, held)] == [False, False]
    assert bench.spans.works_on(held.computation)
    assert bench.spans.finish(extra, TIMING)
    assert not bench.spans.works_on(held.computation)
    assert bench.nothing()


def test_language_of_the_last_window_is_there_for_whoever_goes_on(bench: Bench) -> None:
    bench.new(multilingual=True)
    claim = bench.claim()
    bench.prepare(claim)
    bench.spans.append(claim, [], window=0, audio_s=1.0, language="de")
    bench.spans.append(claim, [], window=1, audio_s=2.0)
    bench.spans.release(claim)
    again = bench.claim()
    assert (again.windows_done, again.language) == (2, "de")
    assert bench.claim().language == "en"  # another span begins with the recording's


def test_windows_that_were_written_are_not_computed_again(bench: Bench) -> None:
    bench.new()
    held = bench.claim()
    bench.prepare(held, (Piece(Span(0.0, 10.0), (Span(1.0, 9.0),)),))
    bench.spans.append(held, [Segment(1.0, 2.0, " one")], window=0, audio_s=5.0)
    bench.spans.release(held)
    again = bench.claim("w2")
    assert (again.windows_done, again.attempt, again.language, again.speech) == (1, 1, "en", (Span(1.0, 9.0),))


WRITES: list[Callable[[Bench, Claim], object]] = [
    lambda bench, held: bench.prepare(held),
    lambda bench, held: bench.spans.append(held, [], window=0, audio_s=1.0),
    lambda bench, held: bench.spans.finish(held, TIMING),
    lambda bench, held: bench.spans.fail(held, BOOM, retry_in_s=None),
]


@pytest.mark.parametrize("write", WRITES, ids=["prepared", "append", "finish", "fail"])
def test_old_token_writes_nothing(bench: Bench, write: Callable[[Bench, Claim], object]) -> None:
    bench.new()
    old = bench.claim()
    bench.spans.release(old)
    new = bench.claim("w2")
    with pytest.raises(LeaseLost):
        write(bench, old)
    holds = bench.spans.renew([old, new])
    assert (holds[old.token].held, holds[old.token].wanted, holds[new.token].held) == (False, True, True)
    assert bench.spans.finish(new, TIMING)


@pytest.mark.parametrize("write", WRITES, ids=["prepared", "append", "finish", "fail"])
def test_canceled_work_is_stopped_at_its_next_write(bench: Bench, write: Callable[[Bench, Claim], object]) -> None:
    job = bench.new()
    held = bench.claim()
    assert bench.spans.jobs(held) == [job.job_id]
    assert (held.job, held.jobs) == (job.job_id, 1)
    assert bench.spans.cancel(job.job_id) == "ok"
    assert bench.spans.cancel(job.job_id) == "finished"
    assert bench.spans.cancel("nobody") == "unknown"
    with pytest.raises(Stopped):
        write(bench, held)
    assert not bench.spans.renew([held])[held.token].wanted
    assert bench.nothing()


def test_failed_attempt_waits_and_a_final_one_ends_the_work(bench: Bench) -> None:
    bench.new()
    held = bench.claim()
    bench.spans.fail(held, BOOM, retry_in_s=600)
    assert bench.nothing()
    assert bench.spans.pending() == 0
    assert bench.spans.works_on(held.computation)
    bench.new("b")
    final = bench.claim()
    bench.spans.fail(final, BOOM, retry_in_s=None)
    assert not bench.spans.works_on(final.computation)
    assert bench.nothing()


def test_process_under_an_old_one_s_name_gets_its_spans_back(bench: Bench) -> None:
    bench.new()
    held = bench.claim()
    assert bench.spans.register(INFO) == 0
    assert bench.spans.register(replace(INFO, pid=2)) == 1
    with pytest.raises(LeaseLost):
        bench.spans.finish(held, TIMING)
    again = bench.claim()
    assert (again.attempt, again.suspect) == (2, True)


def test_name_of_a_worker_that_lives_elsewhere_is_refused(bench: Bench) -> None:
    namesake = replace(INFO, host="elsewhere", pid=2, started_at=2.0)
    for _ in range(2):
        with pytest.raises(NameTaken):
            bench.spans.register(namesake)
        bench.spans.depart(namesake)
    bench.spans.depart(INFO)
    assert bench.spans.register(namesake) == 0


def test_hung_span_comes_back_and_is_charged_an_attempt(bench: Bench) -> None:
    bench.new()
    held = bench.claim()
    assert bench.spans.hung("w1", [held]) == 1
    assert bench.spans.hung("w1", [held]) == 0
    assert bench.claim("w2").attempt == 2


@beyond_fakeredis("bench")
def test_lanes_say_what_waits_and_who_suits_it(bench: Bench) -> None:
    assert bench.spans.waiting_lanes() == []
    bench.new(priority="batch")
    (name,) = bench.spans.waiting_lanes()
    lane = bench.spans.lanes()[name]
    assert (lane.workers, lane.pending) == (1, 1)
    assert bench.claim().priority is Priority.BATCH
    assert bench.spans.waiting_lanes() == []


def test_audio_is_needed_until_its_words_are_there(bench: Bench) -> None:
    sha256 = bench.new().audio.sha256
    assert bench.spans.waiting_audio(5) == [sha256]
    held = bench.claim()
    assert bench.spans.waiting_audio(5) == []
    assert bench.spans.needed_audio([sha256, "b" * 64]) == {sha256}
    bench.spans.finish(held, TIMING)
    assert bench.spans.needed_audio([sha256]) == frozenset()


def test_lock_is_one_s_at_a_time(bench: Bench) -> None:
    assert bench.spans.lock("sweep", seconds=60)
    assert not bench.spans.lock("sweep", seconds=60)
    assert bench.spans.lock("another", seconds=60)


def test_nothing_is_due_in_an_empty_ledger(bench: Bench) -> None:
    assert (bench.spans.reap(), bench.spans.sweep(), bench.spans.unneeded_audio()) == (0, 0, [])
    assert not bench.spans.rewrite(after_s=60)
