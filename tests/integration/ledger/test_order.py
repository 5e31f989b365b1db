"""Whose turn it is: priority, age, and what each tenant has running."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM
from tests.ledger_steps import TIMING, claim, job, submission, submit
from tests.ledger_worker import MODELS, LedgerWorker, dies, nothing_for
from transcription.job import Outcome, Status
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from transcription.spans import Piece, Span

THIRDS = (4.0, 7.0, 10.0)


def test_interactive_goes_before_batch_and_the_tenant_with_least_running_goes_first(
    settings: Settings, spans: RedisSpans
) -> None:
    submit(settings, submission("a" * 64, priority="batch"))
    for letter in "bcd":
        submit(settings, submission(letter * 64, tenant="greedy"))
    submit(settings, submission("e" * 64, tenant="modest"))
    order = [claim(spans).audio_sha256[0] for _ in range(5)]
    assert order == ["b", "e", "c", "d", "a"]


def test_an_interactive_ticket_on_a_batch_computation_hurries_it(settings: Settings, spans: RedisSpans) -> None:
    submit(settings, submission("a" * 64, priority="batch"))
    submit(settings, submission("b" * 64, priority="batch"))
    assert submit(settings, submission("b" * 64))[1] is Outcome.JOINED
    assert claim(spans).audio_sha256[0] == "b"


def test_only_idle_workers_take_further_spans_of_a_recording(settings: Settings, spans: RedisSpans) -> None:
    accepted, _ = submit(settings, submission("a" * 64))
    held = claim(spans)
    spans.prepared(
        held, [Piece(Span(a, b), (Span(a, b),)) for a, b in ((0, 4), (4, 7), (7, 10))], language="en", probability=1.0
    )
    submit(settings, submission("b" * 64))
    assert claim(spans, "w2").audio_sha256 == "b" * 64  # a waiting recording goes before fan-out
    assert spans.claim("w2", models=MODELS, extras=False) is None
    extra = claim(spans, "w2")
    assert (extra.index, extra.span) == (1, Span(4.0, 7.0))
    spans.finish(held, TIMING)
    spans.finish(extra, TIMING)
    last = claim(spans, "w2", extras=False)  # nobody is on the recording: its next span waits among the first ones
    assert last.index == 2
    assert spans.finish(last, TIMING)
    assert job(settings, accepted.id).status is Status.COMPLETED


def test_recording_of_many_thousand_spans_is_cut(client: LedgerClient, worker: LedgerWorker, spans: RedisSpans) -> None:
    client.new(seconds=9000.0)
    worker.prepare(worker.claim(), range(3, 9001, 3))
    assert spans.pending() == 2999


def test_span_that_comes_back_keeps_its_place(client: LedgerClient, worker: LedgerWorker, spans: RedisSpans) -> None:
    jobs = [client.new(letter) for letter in "abc"]
    first = worker.claim()
    spans.release(first)
    assert client.get(jobs[1]).queue.position == 1  # type: ignore[union-attr]
    assert [worker.claim().audio_sha256[0] for _ in "abc"] == ["a", "b", "c"]


def test_suspect_that_is_handed_back_leaves_the_next_span_to_those_who_take_first_ones(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    client.new("a")
    held = worker.claim()
    worker.prepare(held, (4.0, 7.0, 10.0))
    dies(worker)
    suspect, second = claim(spans, "w2", extras=False), claim(spans, "w3", extras=False)
    assert (suspect.suspect, suspect.index, second.index) == (True, 0, 1)
    worker.write(second, 0, " second", audio_s=3.0)
    spans.finish(second, TIMING)
    spans.release(suspect)
    assert {claim(spans, name, extras=False).index for name in ("w4", "w5")} == {0, 2}


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


@pytest.mark.parametrize("models", [("demo", "other"), ("other", "demo")])
def test_tenant_with_less_running_goes_first_whatever_model_each_asks_for(
    client: LedgerClient, worker: LedgerWorker, models: tuple[str, str]
) -> None:
    client.new("a", tenant="greedy", seconds=100.0)
    worker.claim()
    client.new("b", tenant="greedy", model=models[0])
    client.new("c", tenant="modest", model=models[1])
    taken = worker.spans.claim(worker.name, models=models, extras=True)
    assert taken
    assert taken.audio_sha256[0] == "c"


def test_recordings_that_a_worker_has_no_language_for_hide_no_tenant_behind_any_number_of_others(
    settings: Settings, client: LedgerClient, worker: LedgerWorker
) -> None:
    async def crowd(jobs: RedisJobs) -> None:
        for number in range(101):
            await jobs.submit(submission("a" * 64, tenant=f"t{number}", language="de", prompt=f"{number}"))

    client.ask(crowd)
    client.new("b", tenant="z", language="en")
    taken = worker.spans.claim("w7", models=MODELS, extras=True, traits=("language=en",))
    assert taken
    assert taken.audio_sha256[0] == "b"


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
