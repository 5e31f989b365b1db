"""The thread that keeps a worker's leases: what is held is renewed, given back or lost, whatever the ledger does."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.failing_ledger import AWAY, ODD, Failing
from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.computation import Claim
from transcription.errors import LeaseLost, NameTaken, Stopped
from transcription.job import Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Settings
from worker import health_check
from worker import leases as leases_module
from worker.host_heartbeat import HostHeartbeat
from worker.leases import Leases

LEASE = Lease(ttl_s=3, renew_s=0.2, stall_s=60)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, ledger={"url": redis_url}, lease=LEASE)


class Keeper:
    """A thread of leases, and the counter that stands for its engine."""

    def __init__(
        self, spans: RedisSpans, lease: Lease = LEASE, name: str = "w1", host: HostHeartbeat | None = None
    ) -> None:
        self.name = name
        self.spans = spans
        self.ledger = Failing(spans)
        self.engine_steps = 0
        info = LedgerWorker(spans, "info").info
        spans.depart(info)
        self.thread = Leases(
            self.ledger,  # type: ignore[arg-type]
            lease,
            steps=lambda: self.engine_steps,
            info=lambda running: replace(info, id=name, running=running, pid=7, draining=self.thread.draining),
            host=host,
        )

    def claim(self) -> Any:
        claim = self.spans.claim(self.name, models=("demo",), extras=True)
        assert claim is not None
        return self.thread.add(claim)


@contextmanager
def keeping(spans: RedisSpans, lease: Lease = LEASE, host: HostHeartbeat | None = None) -> Iterator[Keeper]:
    keeper = Keeper(spans, lease, host=host)
    keeper.thread.start()
    try:
        eventually(lambda: keeper.thread.open)
        yield keeper
    finally:
        keeper.thread.stop()
        keeper.thread.join(10)


class Clock:
    """The leases' own clock, which a test moves."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases_module, "time", clock)
    return clock


def a_round(keeper: Keeper) -> None:
    """Wait until the thread has looked at all that it holds once more, from beginning to end."""
    seen = keeper.ledger.calls.count("renew")
    eventually(lambda: keeper.ledger.calls.count("renew") > seen + 1)


def lease_end(spans: RedisSpans, claim: Claim) -> float | None:
    score: float | None = spans._client.zscore("murmur:leases", claim.name)
    return score


def test_worker_is_not_open_before_the_ledger_knows_it_nor_after_it_was_told_to_stop(spans: RedisSpans) -> None:
    keeper = Keeper(spans)
    assert not keeper.thread.open
    keeper.ledger.fail("register", AWAY, AWAY)
    keeper.thread.start()
    eventually(lambda: keeper.thread.open)
    assert keeper.ledger.calls.count("register") == 3
    keeper.thread.stop()
    assert not keeper.thread.open
    keeper.thread.join(10)


def test_span_with_progress_is_renewed_and_counted(client: LedgerClient, spans: RedisSpans) -> None:
    client.new()
    with keeping(spans) as keeper:
        held = keeper.claim()
        first = lease_end(spans, held.claim)
        assert first
        eventually(lambda: (lease_end(spans, held.claim) or 0) > first + 200)
        eventually(lambda: client.backlog().workers[0].running == 1)
        assert not held.over
        held.check()


def test_span_without_progress_is_not_renewed_while_its_neighbour_is(
    client: LedgerClient, spans: RedisSpans, ended: list[int], clock: Clock
) -> None:
    client.new("a")
    client.new("b")
    with keeping(spans, LEASE.model_copy(update={"stall_s": 0.3})) as keeper:
        stuck, moving = keeper.claim(), keeper.claim()
        stuck.touch()
        clock.at += 1.0
        moving.touch()
        a_round(keeper)
        before, at = lease_end(spans, stuck.claim), lease_end(spans, moving.claim)
        assert before
        assert at
        eventually(lambda: (lease_end(spans, moving.claim) or 0) > at + 300)
        assert lease_end(spans, stuck.claim) == before
        assert not ended


def test_steps_of_the_engine_are_progress_for_what_is_in_it(
    client: LedgerClient, spans: RedisSpans, ended: list[int], clock: Clock
) -> None:
    client.new()
    with keeping(spans, LEASE.model_copy(update={"stall_s": 0.3})) as keeper:
        held = keeper.claim()
        held.touch()
        held.in_engine = True
        for _ in range(10):  # each time less than would be a standstill, and more than that in all
            keeper.engine_steps += 1
            clock.at += 0.2
            a_round(keeper)
        last = lease_end(spans, held.claim)
        assert last
        eventually(lambda: (lease_end(spans, held.claim) or 0) > last)
        # Outside of it, what the engine does for others is no progress of this one.
        held.in_engine = False
        clock.at += 0.5
        a_round(keeper)
        stopped = lease_end(spans, held.claim)
        for _ in range(3):
            keeper.engine_steps += 1
            a_round(keeper)
        assert lease_end(spans, held.claim) == stopped
        assert not ended


def test_hung_process_hands_its_other_spans_back_and_exits(
    client: LedgerClient, spans: RedisSpans, ended: list[int], clock: Clock
) -> None:
    client.new("a")
    client.new("b")
    with keeping(spans) as keeper:
        stuck, moving = keeper.claim(), keeper.claim()
        stuck.touch()
        moving.progressed_at = clock.at + 2 * LEASE.stall_s
        clock.at += 2 * LEASE.stall_s
        eventually(lambda: ended)
        assert set(ended) == {leases_module.EXIT_HUNG}
        assert moving.handed_back
        assert not stuck.handed_back
        other = LedgerWorker(spans, "w2")
        claims = {held.computation: held for held in (other.claim() for _ in "ab")}
        hung, neighbour = claims[stuck.claim.computation], claims[moving.claim.computation]
        assert (hung.suspect, hung.attempt) == (True, 2)
        assert (neighbour.suspect, neighbour.attempt) == (False, 1)


def test_cancel_reaches_the_worker_and_a_lost_lease_too(client: LedgerClient, spans: RedisSpans) -> None:
    job = client.new("a")
    client.new("b")
    with keeping(spans) as keeper:
        unwanted, lost = keeper.claim(), keeper.claim()
        client.cancel(job)
        eventually(lambda: unwanted.over)
        with pytest.raises(Stopped):
            unwanted.check()
        assert not lost.over
        spans.release(lost.claim)
        eventually(lambda: lost.over)
        with pytest.raises(LeaseLost):
            lost.check()


def test_what_is_done_with_is_renewed_no_more(client: LedgerClient, spans: RedisSpans) -> None:
    client.new()
    with keeping(spans) as keeper:
        held = keeper.claim()
        assert [one.claim for one in keeper.thread.holding()] == [held.claim]
        keeper.thread.remove(held)
        assert keeper.thread.holding() == []


@pytest.mark.parametrize("call", ["renew", "register"])
def test_leases_are_kept_through_an_outage_of_the_ledger(client: LedgerClient, spans: RedisSpans, call: str) -> None:
    client.new()
    with keeping(spans) as keeper:
        held = keeper.claim()
        keeper.ledger.fail(call, *[AWAY] * 5)
        eventually(lambda: not keeper.ledger.errors[call])
        at = lease_end(spans, held.claim)
        assert at
        eventually(lambda: (lease_end(spans, held.claim) or 0) > at)
        assert not held.over


def test_a_finished_span_is_never_failed_because_the_ledger_was_away_for_long(
    client: LedgerClient, spans: RedisSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.new()
    lease = LEASE.model_copy(update={"stall_s": 0.3, "ttl_s": 30.0})
    patient = RedisSpans(spans._client, spans._settings.model_copy(update={"lease": lease}))
    worker = LedgerWorker(patient)
    claim = worker.claim()
    worker.prepare(claim)
    began, call = time.monotonic(), patient._scripts.call

    def away(name: str, *args: Any) -> Any:
        if name == "finish" and time.monotonic() - began < 2.0:
            raise RedisConnectionError("Error 111 connecting to 127.0.0.1")
        return call(name, *args)

    monkeypatch.setattr(patient._scripts, "call", away)
    worker.finish(claim)  # it would raise, and the caller report a failure, if it gave up after `stall_s`
    assert client.status(job) is Status.COMPLETED


def test_who_waits_for_the_ledger_does_not_hang(
    client: LedgerClient, spans: RedisSpans, ended: list[int], clock: Clock
) -> None:
    client.new()
    with keeping(spans) as keeper:
        held = keeper.claim()
        for _ in range(5):  # each time less than would be a standstill, and more than a process may hang in all
            keeper.ledger.fail("renew", AWAY)
            eventually(lambda: not keeper.ledger.errors["renew"])
            a_round(keeper)
            clock.at += LEASE.stall_s * 0.9
        a_round(keeper)
        assert not ended
        assert held.claim.token in {one.claim.token for one in keeper.thread.holding()}


@pytest.mark.parametrize("call", ["renew", "register"])
def test_an_odd_error_never_leaves_a_worker_that_renews_nothing(
    client: LedgerClient, spans: RedisSpans, ended: list[int], call: str
) -> None:
    client.new()
    with keeping(spans) as keeper:
        held = keeper.claim()
        keeper.ledger.fail(call, ODD)
        eventually(lambda: not keeper.ledger.errors[call])
        at = lease_end(spans, held.claim) or 0.0
        # Either the thread goes on, or the whole process ends and is started again.
        eventually(lambda: ended or (lease_end(spans, held.claim) or 0) > at)


def test_stop_hands_everything_back_at_once_and_says_goodbye(client: LedgerClient, spans: RedisSpans) -> None:
    jobs = [client.new(letter) for letter in "ab"]
    with keeping(spans) as keeper:
        held = [keeper.claim(), keeper.claim()]
        keeper.thread.stop()
        keeper.thread.join(10)
        assert all(one.handed_back for one in held)
        assert "w1" not in [one.id for one in client.backlog().workers]
        late = spans.claim("w1", models=("demo",), extras=True)
        assert late is not None
        assert keeper.thread.add(late).handed_back  # a claim that was under way comes back too
    other = LedgerWorker(spans, "w2")
    for _ in jobs:
        again = other.claim()
        assert (again.attempt, again.alone) == (1, False)
        other.finish(again)
    assert {client.status(job) for job in jobs} == {Status.COMPLETED}


def test_worker_that_finishes_what_it_holds_says_so_before_its_next_heartbeat(
    client: LedgerClient, spans: RedisSpans
) -> None:
    with keeping(spans, LEASE.model_copy(update={"renew_s": 3600.0})) as keeper:
        keeper.thread.drain()
        eventually(lambda: [one.draining for one in client.backlog().workers] == [True])


@pytest.mark.parametrize("for_good", [True, False], ids=["it was replaced", "two have one name"])
def test_worker_whose_name_another_has_ends_and_hands_nothing_back(
    spans: RedisSpans, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    keeper = Keeper(spans, LEASE.model_copy(update={"renew_s": 0.05}))
    keeper.ledger.fail("register", *[NameTaken("another one has it", for_good=for_good)] * 100_000)
    ended: list[tuple[int, list[str]]] = []
    monkeypatch.setattr(os, "_exit", lambda status: ended.append((status, keeper.ledger.calls[:])))
    keeper.thread.start()
    try:
        eventually(lambda: ended)
    finally:
        keeper.thread.stop()
        keeper.thread.join(10)
    status, calls = ended[0]
    assert status == leases_module.EXIT_NAME_TAKEN
    # Whoever only may have a namesake waits first, as a dead one falls silent.
    assert (calls == ["register"]) is for_good
    assert set(calls) == {"register"}


@pytest.mark.parametrize("refusals", [100_000, 1], ids=["for ever", "once"])
def test_worker_that_was_refused_leaves_the_other_ones_file_and_place_unless_it_came_in_after_all(
    client: LedgerClient, spans: RedisSpans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    other = LedgerWorker(spans)
    health_check.beat(other.name)
    keeper = Keeper(spans, LEASE.model_copy(update={"renew_s": 3600.0}))
    keeper.ledger.fail("register", *[NameTaken("another one has it", for_good=False)] * refusals)
    keeper.thread.start()
    eventually(lambda: keeper.thread.open if refusals == 1 else keeper.ledger.calls)
    keeper.thread.stop()
    keeper.thread.join(10)
    assert health_check.heartbeat_file(other.name).exists() is (refusals > 1)
    assert [one.id for one in client.backlog().workers] == [other.name] * (refusals > 1)


def test_worker_that_has_left_leaves_no_file_that_says_that_it_lives(
    spans: RedisSpans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    host = HostHeartbeat(
        "redis://ledger", every_s=LEASE.renew_s, register=spans.register, register_all=spans.register_all
    )

    def files() -> set[str]:
        return {path.name for path in tmp_path.rglob("*w1*")}

    with keeping(spans, host=host):
        eventually(lambda: files() >= {"w1.json", "murmur-w1.heartbeat"})
    assert files() == set()


def test_stop_while_the_ledger_is_away_still_ends(client: LedgerClient, spans: RedisSpans) -> None:
    client.new("a")
    client.new("b")
    with keeping(spans) as keeper:
        keeper.claim(), keeper.claim()
        keeper.ledger.fail("release", AWAY)
        keeper.ledger.fail("depart", AWAY)
        keeper.thread.stop()
        keeper.thread.join(10)
        assert not keeper.thread.is_alive()
        assert keeper.ledger.calls.count("release") == 2
