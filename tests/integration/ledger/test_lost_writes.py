"""What a ledger says is so, though answers were lost, a server forgot its last writes, or a worker's twin came up."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.platform import running_ledger
from transcription.computation import Timing
from transcription.errors import LeaseLost, LedgerUnavailable, NameTaken
from transcription.job import Outcome, Status
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Ledger, Settings


@contextmanager
def forgotten(url: str) -> Iterator[None]:
    """The server comes back as it was before, as one does whose last writes didn't reach its disk."""
    with Redis.from_url(url) as raw:
        before = {key: raw.dump(key) for key in raw.keys("*")}
        yield
        raw.flushall()
        for key, value in before.items():
            raw.restore(key, 0, value)


@pytest.fixture
def spans(worker: LedgerWorker) -> RedisSpans:
    return worker.spans


@pytest.fixture
def client(settings: Settings) -> LedgerClient:
    return LedgerClient(settings)


def test_tokens_of_a_server_that_forgot_its_last_writes_are_never_given_out_again(tmp_path: Path) -> None:
    with running_ledger(tmp_path / "first") as server:
        settings = Settings(ledger=Ledger.model_validate({"url": server.url}))
        with connect(settings.ledger) as redis:
            spans, client = RedisSpans(redis, settings), LedgerClient(settings)
            client.new("a")
            worker = LedgerWorker(spans)
            with forgotten(server.url):
                held = worker.claim()
                worker.prepare(held, (4.0, 10.0))
            other = LedgerWorker(spans, "w2")
            heir = other.claim()
            assert (heir.computation, heir.index) == (held.computation, held.index)
            assert heir.token > held.token
            other.prepare(heir, (10.0,))
            with pytest.raises(LeaseLost):
                worker.write(held, 0, " from another cut", audio_s=4.0)
            with pytest.raises(LeaseLost):
                worker.finish(held)


@pytest.mark.parametrize("ends", [(4.0, 10.0), (10.0,)], ids=["several spans", "one span"])
@pytest.mark.parametrize("noticed", ["at the first window", "at the end of silence"])
def test_recording_whose_cut_a_server_forgot_is_cut_again_before_anything_is_written(
    client: LedgerClient, worker: LedgerWorker, redis_url: str, ends: tuple[float, ...], noticed: str
) -> None:
    job = client.new("a")
    held = worker.claim()
    with forgotten(redis_url):
        worker.prepare(held, ends)
    further = {
        "at the first window": lambda: worker.write(held, 0, " half", audio_s=4.0),
        "at the end of silence": lambda: worker.spans.finish(held, Timing(audio_s=4.0), windows=0),
    }
    with pytest.raises(LeaseLost):
        further[noticed]()
    assert client.status(job) is Status.PROCESSING
    heir = worker.claim()
    assert (heir.token > held.token, heir.speech, heir.attempt) == (True, None, 1)
    worker.spans.release(heir)
    worker.work(" the whole of it")
    assert client.text(job) == "the whole of it"
    assert client.get(job).language == "en"


def test_transcript_with_a_hole_is_never_given_out_and_its_computation_begins_anew(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis
) -> None:
    job = client.new("a")
    held = worker.claim()
    worker.prepare(held, (4.0, 10.0))
    worker.write(held, 0, " half", audio_s=4.0)
    worker.finish(held)
    second = worker.claim()
    redis_server.hset(f"murmur:span:{second.computation}:1", "start", 6000)  # two seconds are nobody's
    worker.finish(second)
    assert client.status(job) is Status.PROCESSING
    worker.work(" the whole of it")
    assert client.status(job) is Status.COMPLETED
    assert client.text(job) == "the whole of it"


@pytest.mark.parametrize("noticed", ["at the next window", "at the end"])
def test_window_that_a_server_forgot_is_written_again_before_its_span_is_done(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis, noticed: str
) -> None:
    job = client.new("a")
    held = worker.claim()
    worker.prepare(held)
    for window, text in enumerate((" one", " two")):
        worker.write(held, window, text, audio_s=3.0 * (window + 1))
    # The server comes back without its last write, and with the claim.
    redis_server.rpop(f"murmur:segs:{held.computation}:0")
    redis_server.hset(f"murmur:span:{held.computation}:0", mapping={"windows": 1, "done": 3000})
    further = {
        "at the end": lambda: worker.spans.finish(held, Timing(audio_s=10.0), windows=2),
        "at the next window": lambda: worker.write(held, 2, " three", audio_s=9.0),
    }
    with pytest.raises(LeaseLost):
        further[noticed]()
    heir = worker.claim()
    assert (heir.windows_done, heir.attempt) == (1, 1)
    worker.write(heir, 1, " two", audio_s=6.0)
    worker.write(heir, 1, " two", audio_s=6.0)  # once more, as when the answer was lost
    worker.write(heir, 2, " three", audio_s=9.0)
    worker.spans.finish(heir, Timing(audio_s=10.0), windows=3)
    assert client.text(job) == "one two three"


def test_window_that_a_finished_span_lost_makes_its_computation_begin_anew(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis
) -> None:
    job = client.new("a")
    held = worker.claim()
    worker.prepare(held, (4.0, 10.0))
    worker.write(held, 0, " half", audio_s=4.0)
    worker.spans.finish(held, Timing(audio_s=4.0), windows=1)
    redis_server.delete(f"murmur:segs:{held.computation}:0")
    second = worker.claim()
    worker.write(second, 0, " rest", audio_s=6.0)
    worker.spans.finish(second, Timing(audio_s=6.0), windows=1)
    assert client.status(job) is Status.PROCESSING
    worker.work(" the whole of it")
    assert client.text(job) == "the whole of it"


def test_revision_of_a_model_s_weights_is_what_the_worker_said_last_though_it_is_gone(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    spans = worker.spans
    spans.register(replace(worker.info, revisions={"demo": "old", "base": "b1"}))
    spans.register(replace(worker.info, id="w2", revisions={"demo": "new"}))
    spans.register(replace(worker.info, revisions={"demo": "old", "base": "b1"}))  # a heartbeat is no news
    spans.depart(replace(worker.info, id="w2"))
    assert client.backlog().revisions == {"demo": "new", "base": "b1"}
    spans.register(replace(worker.info, revisions={"demo": "newer", "base": "b1"}))
    assert client.backlog().revisions["demo"] == "newer"
    assert client.backlog().workers[0].revisions == {"demo": "newer", "base": "b1"}


def test_result_of_other_weights_than_its_request_named_is_given_to_nobody_else(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    job = client.new("a")
    held = worker.claim()
    assert held.revision == "r1"
    worker.spans.keep_from_cache(held)
    assert client.submit("a")[1] is Outcome.NEW
    worker.prepare(held)
    worker.write(held, 0, " of other weights", audio_s=10.0)
    worker.finish(held)
    assert client.text(job) == "of other weights"
    assert client.submit("a")[1] is Outcome.JOINED
    worker.work(" of these weights")
    again, outcome = client.submit("a")
    assert (outcome, client.text(again)) == (Outcome.CACHED, "of these weights")


def test_claim_whose_answer_was_lost_is_the_same_claim_when_it_is_asked_for_again(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in "ab":
        client.new(letter)
    call, lost = worker.spans._scripts.call, []

    def losing(name: str, *args: str) -> object:
        answer = call(name, *args)
        if name == "claim" and not lost:
            lost.append(answer)
            raise RedisTimeout("Timeout reading from socket")
        return answer

    monkeypatch.setattr(worker.spans._scripts, "call", losing)
    held = worker.claim()
    assert lost
    assert redis_server.zcard("murmur:leases") == 1
    assert str(held.token) in map(str, lost[0])
    assert worker.claim().computation != held.computation


@pytest.mark.parametrize("reached", [True, False], ids=["it was run", "it never came"])
def test_claim_whose_answer_is_never_heard_is_handed_back_at_the_next_renewal(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    for letter in "ab":
        client.new(letter)
    live, call, away = worker.claim(), worker.spans._scripts.call, ["claim", "renew"]

    def losing(name: str, *args: str) -> object:
        if away and reached:
            call(name, *args)
        if away:
            away.pop()
            raise RedisConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")
        return call(name, *args)

    monkeypatch.setattr(worker.spans._scripts, "call", losing)
    with pytest.raises(LedgerUnavailable):
        worker.claim()
    with pytest.raises(LedgerUnavailable):  # the outage goes on
        worker.spans.renew([])
    assert redis_server.zcard("murmur:leases") == 1 + reached
    assert worker.spans.renew([live])[live.token].held
    assert redis_server.zcard("murmur:leases") == 1  # else the worker would count as dead when the other one ends
    assert worker.spans.pending() == 1
    again = worker.claim()
    assert (again.computation != live.computation, again.attempt, again.suspect) == (True, 1, False)


def test_worker_of_another_host_is_refused_while_one_of_its_name_lives(
    spans: RedisSpans, worker: LedgerWorker, client: LedgerClient
) -> None:
    client.new("a")
    held = worker.claim()
    twin = replace(worker.info, host="elsewhere", pid=77)
    with pytest.raises(NameTaken, match="another worker called 'w1' lives") as refused:
        spans.register(twin)
    assert not refused.value.for_good
    assert spans.renew([held])[held.token].held


def test_second_worker_of_one_name_on_one_host_is_refused_while_the_first_lives(
    spans: RedisSpans, worker: LedgerWorker, client: LedgerClient
) -> None:
    with subprocess.Popen(["sleep", "60"]) as first:
        here = replace(worker.info, id="twin", host=socket.gethostname(), pid=first.pid)
        spans.register(here)
        client.new("a")
        held = spans.claim("twin", models=here.models, extras=True)
        assert held is not None
        second = replace(here, pid=os.getpid(), started_at=2.0)
        for _ in range(2):
            with pytest.raises(NameTaken, match="lives on this host") as refused:
                spans.register(second)
            assert not refused.value.for_good
        assert spans.renew([held])[held.token].held
        first.kill()
        first.wait()
        assert spans.register(second) == 1  # its successor needn't wait


def test_worker_whose_place_another_process_has_is_told_so(spans: RedisSpans, worker: LedgerWorker) -> None:
    LedgerWorker(spans, worker.name, pid=worker.pid + 1)
    with pytest.raises(NameTaken) as refused:
        spans.register(worker.info)
    assert refused.value.for_good


def test_cache_off_computes_anew_joins_what_is_being_computed_and_serves_the_newer_result(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    client.new("a")
    worker.work(" old")
    assert client.submit("a")[1] is Outcome.CACHED
    fresh, outcome = client.submit("a", cache="off")
    assert outcome is Outcome.NEW
    assert client.submit("a", cache="off")[1] is Outcome.JOINED
    worker.work(" new")
    assert client.text(fresh) == "new"
    again, outcome = client.submit("a")
    assert (outcome, client.text(again)) == (Outcome.CACHED, "new")


def test_batch_work_gets_a_tenth_of_the_claims_under_interactive_load(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for number in range(3):
        client.new("abc"[number], priority="batch")
    for code in range(ord("D"), ord("D") + 26):
        client.new(chr(code))
    taken = "".join(worker.claim().audio_sha256[0] for _ in range(29))
    assert [match.start() for match in re.finditer("[abc]", taken)] == [9, 19, 28]
