"""Suspects: in which order they run, beside whom, and when a worker waits for one."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM
from tests.ledger_worker import LedgerWorker, dies, nothing_for
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


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
    spans.depart(busy[0].info)
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


def test_while_one_worker_runs_empty_for_a_suspect_the_others_go_on(
    client: LedgerClient, spans: RedisSpans, worker: LedgerWorker
) -> None:
    busy = [LedgerWorker(spans, name) for name in ("w2", "w3")]
    for letter in "bc":
        client.new(letter)
    for one in busy:
        one.claim()
    solitary(client, worker)
    client.new("d")
    assert nothing_for(busy[0])
    assert busy[1].claim().audio_sha256[0] == "d"
    assert nothing_for(busy[0])


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
        spans.depart(busy.info)
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
