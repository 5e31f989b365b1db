"""The worker's own threads: what must go on goes on and what is taken is given back, whatever the ledger does."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.computation import Claim
from transcription.errors import LeaseLost, LedgerUnavailable, Stopped
from transcription.housekeeping import maintenance as maintenance_module
from transcription.housekeeping.maintenance import Maintenance
from transcription.job import Status
from transcription.ledger import span_store
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Retention, Settings
from transcription.storage.disk import DiskBlobs
from worker import leases as leases_module
from worker.leases import Leases

LEASE = Lease(ttl_s=3, renew_s=0.2, stall_s=60)
ODD = RuntimeError("nobody foresaw this")
AWAY = LedgerUnavailable("the ledger is away", retry_after_s=1)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, ledger={"url": redis_url}, lease=LEASE)


class Failing:
    """A ledger some of whose calls fail, the next so many times, and that says which were made."""

    def __init__(self, spans: RedisSpans) -> None:
        self._spans = spans
        self.errors: dict[str, list[Exception]] = {}
        self.calls: list[str] = []

    def fail(self, name: str, *errors: Exception) -> None:
        self.errors[name] = list(errors)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return getattr(self._spans, name)(*args, **keywords)

        return call


class Keeper:
    """A thread of leases, and the counter that stands for its engine."""

    def __init__(self, spans: RedisSpans, lease: Lease = LEASE, name: str = "w1") -> None:
        self.name = name
        self.spans = spans
        self.ledger = Failing(spans)
        self.engine_steps = 0
        info = LedgerWorker(spans, "info").info
        spans.depart("info")
        self.thread = Leases(
            self.ledger,  # type: ignore[arg-type]
            lease,
            steps=lambda: self.engine_steps,
            info=lambda running: replace(info, id=name, running=running, pid=7),
        )

    def claim(self) -> Any:
        claim = self.spans.claim(self.name, models=("demo",), extras=True)
        assert claim is not None
        return self.thread.add(claim)


@contextmanager
def keeping(spans: RedisSpans, lease: Lease = LEASE) -> Iterator[Keeper]:
    keeper = Keeper(spans, lease)
    keeper.thread.start()
    try:
        eventually(lambda: keeper.thread.open)
        yield keeper
    finally:
        keeper.thread.stop()
        keeper.thread.join(10)


def lease_end(spans: RedisSpans, claim: Claim) -> float | None:
    score: float | None = spans._client.zscore("murmur:leases", claim.name)
    return score


# ---------------------------------------------------------------- leases


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
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    client.new("a")
    client.new("b")
    with keeping(spans, LEASE.model_copy(update={"stall_s": 0.3})) as keeper:
        stuck, moving = keeper.claim(), keeper.claim()
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            moving.touch()
            time.sleep(0.01)
        before = lease_end(spans, stuck.claim)
        moving.touch()
        at = lease_end(spans, moving.claim)
        assert before
        assert at

        def renewed() -> bool:
            moving.touch()
            return (lease_end(spans, moving.claim) or 0) > at + 300

        eventually(renewed)
        assert lease_end(spans, stuck.claim) == before
        assert not ended


def test_steps_of_the_engine_are_progress_for_what_is_in_it(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    client.new()
    with keeping(spans, LEASE.model_copy(update={"stall_s": 0.3})) as keeper:
        held = keeper.claim()
        held.in_engine = True

        def stepping() -> bool:
            keeper.engine_steps += 1
            return (lease_end(spans, held.claim) or 0) > first + 1000

        first = lease_end(spans, held.claim)
        assert first
        eventually(stepping)
        # Outside of it, what the engine does for others is no progress of this one.
        held.in_engine = False
        still = time.monotonic()

        def stepped_for(seconds: float) -> bool:
            keeper.engine_steps += 1
            return time.monotonic() - still > seconds

        eventually(lambda: stepped_for(0.8))
        stopped = lease_end(spans, held.claim)
        eventually(lambda: stepped_for(1.4))
        assert lease_end(spans, held.claim) == stopped


def test_hung_process_hands_its_other_spans_back_and_exits(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    client.new("a")
    client.new("b")
    lease = LEASE.model_copy(update={"stall_s": 0.3, "ttl_s": 0.3})
    with keeping(spans, lease) as keeper:
        stuck, moving = keeper.claim(), keeper.claim()

        def exited() -> bool:
            moving.touch()
            return bool(ended)

        eventually(exited)
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


def test_who_waits_for_the_ledger_does_not_hang(client: LedgerClient, spans: RedisSpans, ended: list[int]) -> None:
    client.new()
    lease = LEASE.model_copy(update={"stall_s": 0.3, "ttl_s": 0.3})
    with keeping(spans, lease) as keeper:
        held = keeper.claim()
        keeper.ledger.fail("renew", *[AWAY] * 40)
        eventually(lambda: len(keeper.ledger.errors["renew"]) < 10, within_s=20)
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


# ---------------------------------------------------------------- maintenance


class Hints:
    """A queue that counts."""

    def __init__(self, waiting: int = 0) -> None:
        self.sent: list[int] = []
        self._waiting = waiting

    def hint(self, lane: str, count: int = 1) -> None:
        self.sent.append(count)

    def waiting(self, lane: str) -> int:
        return self._waiting


@contextmanager
def caring(spans: Any, settings: Settings, hints: Hints | None = None) -> Iterator[Maintenance]:
    thread = Maintenance(spans, hints or Hints(), DiskBlobs(settings.blob_dir), settings)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def sweeping(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(maintenance_module, "SWEEP_INTERVAL_S", 0.1)
    quick = LEASE.model_copy(update={"ttl_s": 1.0})
    return settings.model_copy(update={"lease": quick, "retention": Retention(orphan_s=3600, tombstone_ttl_s=60)})


@pytest.mark.parametrize("error", [AWAY, ODD])
@pytest.mark.parametrize("call", ["lock", "reap", "pending", "sweep"])
def test_the_platform_is_looked_after_again_after_an_error(
    spans: RedisSpans, sweeping: Settings, error: Exception, call: str
) -> None:
    ledger = Failing(spans)
    ledger.fail(call, error, error)
    with caring(ledger, sweeping):
        eventually(lambda: not ledger.errors[call])
        seen = len(ledger.calls)
        eventually(lambda: {"reap", "sweep", "pending"} <= set(ledger.calls[seen:]))


def test_one_worker_at_a_time_looks_after_the_platform(spans: RedisSpans, settings: Settings) -> None:
    slow = settings.model_copy(update={"lease": LEASE.model_copy(update={"ttl_s": 5.0})})
    ledgers = [Failing(spans) for _ in range(3)]
    began = time.monotonic()
    with caring(ledgers[0], slow), caring(ledgers[1], slow), caring(ledgers[2], slow):
        eventually(lambda: sum(ledger.calls.count("reap") for ledger in ledgers) >= 3)
        rounds = (time.monotonic() - began) / (0.5 * 0.9) + 1
        assert sum(ledger.calls.count("reap") for ledger in ledgers) <= rounds
        assert sum(ledger.calls.count("sweep") for ledger in ledgers) == 1


@pytest.mark.parametrize(
    ("jobs", "slots", "waiting", "sent"), [(0, 3, 0, []), (2, 3, 0, [2]), (5, 3, 0, [5]), (5, 3, 1, [4]), (2, 0, 0, [])]
)
def test_hints_are_topped_up_to_what_can_be_claimed(  # noqa: PLR0917 - a table
    client: LedgerClient, spans: RedisSpans, settings: Settings, jobs: int, slots: int, waiting: int, sent: list[int]
) -> None:
    for name in range(slots):
        LedgerWorker(spans, f"w{name}")
    for letter in "abcde"[:jobs]:
        client.new(letter)
    hints = Hints(waiting)
    Maintenance(spans, hints, DiskBlobs(settings.blob_dir), settings).top_up()
    assert [count for count in hints.sent if count] == sent


def test_no_hint_is_taken_back(client: LedgerClient, spans: RedisSpans, settings: Settings) -> None:
    LedgerWorker(spans, "w1")
    client.new()
    hints = Hints(waiting=9)
    Maintenance(spans, hints, DiskBlobs(settings.blob_dir), settings).top_up()
    assert all(count >= 0 for count in hints.sent)


def test_a_lost_workers_span_comes_back_and_gets_a_hint(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    short = settings.model_copy(update={"lease": LEASE.model_copy(update={"ttl_s": 0.2})})
    with connect(short.ledger) as own:
        brief = RedisSpans(own, short)
        worker = LedgerWorker(brief)
        client.new()
        hints = Hints()
        with caring(brief, short, hints):
            worker.claim()
            hints.sent.clear()
            eventually(lambda: [count for count in hints.sent if count])
            assert spans.pending() == 1


def test_a_sweep_deletes_what_nobody_needs_and_nothing_else(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    held, orphan, fresh = (letter * 64 for letter in "abc")
    job = client.new("a")
    for name in (held, orphan, fresh):
        path = settings.blob_dir / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    settings.pcm_dir.mkdir(parents=True)
    decoded = {name: settings.pcm_dir / f"{name}.pcm" for name in (job.computation, "gone", "young")}
    for path in decoded.values():
        path.write_bytes(b"pcm")
    old = time.time() - 7200
    for path in (*settings.blob_dir.rglob("*"), *decoded.values()):
        os.utime(path, (old, old))
    for young in (next(settings.blob_dir.rglob(fresh)), decoded["young"]):
        os.utime(young)
    care = Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings)
    care.sweep()
    care.clean_host()
    assert sorted(path.name for path in settings.blob_dir.rglob("*") if path.is_file()) == [held, fresh]
    assert sorted(path.stem for path in settings.pcm_dir.iterdir()) == sorted([job.computation, "young"])


def test_a_recording_goes_when_its_words_are_there_and_every_host_cleans_its_own_scratch(
    client: LedgerClient, spans: RedisSpans, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_store, "UNNEEDED_S", 0.0)
    spans.lock("repair", seconds=60)  # nothing is looked for file by file
    spans.lock("sweep", seconds=60)  # another host sweeps
    done, waiting = client.new("a"), client.new("b")
    paths = {}
    for job in (done, waiting):
        path = paths[job.id] = settings.blob_dir / job.audio.sha256[:2] / job.audio.sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
        os.utime(path, (time.time() - 120, time.time() - 120))
    LedgerWorker(spans).work()
    care = Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings)
    care.sweep()
    assert [paths[job.id].exists() for job in (done, waiting)] == [False, True]
    assert client.text(done)
    assert client.submit("a")[0].cached
    settings.pcm_dir.mkdir(parents=True)
    (settings.pcm_dir / "gone.pcm").write_bytes(b"pcm")
    os.utime(settings.pcm_dir / "gone.pcm", (1, 1))
    with caring(spans, settings):
        eventually(lambda: not list(settings.pcm_dir.iterdir()))


def test_a_recording_stays_as_long_as_its_result_where_that_is_set(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    keeping_audio = settings.model_copy(update={"retention": Retention(keep_audio=True)})
    kept = RedisSpans(spans._client, keeping_audio)
    job = client.new("a")
    LedgerWorker(kept).work()
    assert kept.needed_audio([job.audio.sha256])
    client.forget(job)
    assert not kept.needed_audio([job.audio.sha256])


def test_a_told_thread_ends_soon(spans: RedisSpans, settings: Settings) -> None:
    with caring(spans, settings) as thread:
        eventually(thread.is_alive)


def test_a_sweep_ends_the_jobs_of_models_that_nobody_serves_any_more(
    spans: RedisSpans, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(RedisSpans, "fail_unserved", lambda _: asked.append("unserved") or 0)
    Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings).sweep()
    assert asked == ["unserved"]
