"""Hangs are seen and slowness isn't called one: the real batcher, leases and ledger, around a model that is a gate."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.errors import ModelUnavailable, Stopped
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Settings, Worker
from worker.batcher import Batcher, DeviceLost, Key, ModelCall
from worker.leases import EXIT_HUNG, Held, Leases
from worker.model_cache import ModelCache
from worker.pipelines.transcription import Pipeline

LEASE = Lease(ttl_s=1.0, renew_s=0.2, stall_s=3.0)
LANGUAGE, DECODE = Key(0), Key(1)


@dataclass
class Gate:
    """A model whose calls take ``takes_s`` for each row, never come back for rows that hang, and break their device."""

    takes_s: float = 0.0
    hung: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    splits: bool = False

    def limit(self, stage: int) -> int:
        return 1 if stage == LANGUAGE.stage else 4

    def compute(self, key: Key, rows: Sequence[str]) -> Sequence[Key | None]:
        if any(row.startswith("hang") for row in rows):
            self.hung.set()
            self.over.wait(60)
        if any(row.startswith("fatal") for row in rows):
            raise DeviceLost("CUDA error: an illegal memory access was encountered")
        time.sleep(self.takes_s * len(rows))
        return [None] * len(rows)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, ledger={"url": redis_url}, lease=LEASE)


class Site:
    """A worker's leases over a batcher; each claimed span has a thread that waits for its rows."""

    def __init__(
        self, spans: RedisSpans, batcher: Batcher[str], threads: ThreadPoolExecutor, models: ModelCache | None
    ) -> None:
        self._spans, self.batcher, self.threads = spans, batcher, threads
        watched = models or batcher
        info = LedgerWorker(spans, "info").info
        spans.depart(info)
        self.leases = Leases(
            spans,
            LEASE,
            steps=lambda: watched.steps,
            calls=watched.calls,
            info=lambda running: replace(info, id="w1", running=running, pid=7),
        )

    def hold(self) -> Held:
        claim = self._spans.claim("w1", models=("demo",), extras=True)
        assert claim is not None
        return self.leases.add(claim)

    def work(self, *rows: str, key: Key = DECODE) -> tuple[Held, "Future[bool]"]:
        """Claim a span and have *rows* of it computed, one after the other; the future tells whether they were."""
        held = self.hold()
        claim = held.claim
        held.progress = lambda: self.batcher.progress(claim.computation)
        held.in_engine = True

        def run() -> bool:
            try:
                for row in rows:
                    done = self.batcher.submit(row, key, owner=claim.computation, cancelled=lambda: held.over)
                    while not held.over:
                        with suppress(TimeoutError):
                            done.result(0.02)
                            break
                    held.touch()  # as for every window that is written
                    held.check()
            except Stopped:
                return False
            finally:
                self.leases.remove(held)
            return True

        return held, self.threads.submit(run)


@contextmanager
def working(spans: RedisSpans, gate: Gate, workers: int = 1, *, models: ModelCache | None = None) -> Iterator[Site]:
    batcher: Batcher[str] = Batcher(gate, workers=workers, capacity=100)
    with ThreadPoolExecutor(16) as threads:
        site = Site(spans, batcher, threads, models)
        site.leases.start()
        try:
            eventually(lambda: site.leases.open)
            yield site
        finally:
            gate.over.set()
            site.leases.stop()
            site.leases.join(10)
            batcher.close()


@pytest.mark.parametrize("key", [DECODE, LANGUAGE])
def test_hung_span_is_named_beside_neighbours_that_go_on(
    client: LedgerClient, spans: RedisSpans, ended: list[int], key: Key
) -> None:
    client.new("a")
    client.new("b")
    gate = Gate(takes_s=0.05)
    with working(spans, gate, workers=2) as site:
        hung, _ = site.work("hang", key=key)
        assert gate.hung.wait(10)
        neighbour, _ = site.work(*["window"] * 1000, key=key)
        eventually(lambda: ended, 20)
        assert set(ended) == {EXIT_HUNG}
        other = LedgerWorker(spans, "w2")
        found = {held.computation: (held.attempt, held.suspect) for held in (other.claim() for _ in "ab")}
        assert found == {hung.claim.computation: (2, True), neighbour.claim.computation: (1, False)}


def test_span_that_breaks_the_device_is_named_at_once_and_the_process_ends_for_its_neighbours_too(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    client.new("a")
    client.new("b")
    with working(spans, Gate(takes_s=0.05), workers=2) as site:
        began = time.monotonic()
        neighbour, _ = site.work(*["window"] * 1000, key=LANGUAGE)  # never in one batch with the other
        broken, _ = site.work("fatal", key=LANGUAGE)
        eventually(lambda: ended, 20)
        assert time.monotonic() - began < LEASE.stall_s, "it isn't waited for as for one that hangs"
        assert set(ended) == {EXIT_HUNG}
        other = LedgerWorker(spans, "w2")
        found = {held.computation: (held.attempt, held.suspect) for held in (other.claim() for _ in "ab")}
        assert found == {broken.claim.computation: (2, True), neighbour.claim.computation: (1, False)}


def test_hung_row_is_seen_though_others_of_its_own_span_come_back(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    client.new("a")
    gate = Gate(takes_s=0.1)
    with working(spans, gate, workers=2) as site:
        held, _ = site.work("hang")
        assert gate.hung.wait(10)
        owner = held.claim.computation
        ahead = [site.batcher.submit("window", DECODE, owner=owner, cancelled=lambda: False) for _ in range(90)]
        eventually(lambda: ended, 20)
        assert set(ended) == {EXIT_HUNG}
        assert any(not row.done() for row in ahead)  # it wasn't told by its windows' having stood still
        assert LedgerWorker(spans, "w2").claim().attempt == 2


def test_hung_thread_is_seen_though_nobody_waits_for_it_any_more(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    job = client.new("a")
    gate = Gate()
    with working(spans, gate, workers=2) as site:
        _, done = site.work("hang")
        assert gate.hung.wait(10)
        client.cancel(job)
        assert done.result(10) is False
        client.new("b")
        gate.takes_s = 0.05
        neighbour, _ = site.work(*["window"] * 1000)
        assert site.leases.holding() == [neighbour]
        eventually(lambda: ended, 20)
        assert set(ended) == {EXIT_HUNG}
        eventually(lambda: neighbour.handed_back)
        assert LedgerWorker(spans, "w2").claim().attempt == 1


def test_thread_of_a_canceled_span_that_never_returns_is_seen(
    client: LedgerClient, spans: RedisSpans, ended: list[int]
) -> None:
    job = client.new("a")
    with working(spans, Gate()) as site:
        claim = spans.claim("w1", models=("demo",), extras=True)
        assert claim is not None
        held = site.leases.add(claim)  # its thread is in a call that is no batcher's, and never comes back
        client.cancel(job)
        eventually(lambda: held.over)
        eventually(lambda: ended, 20)
        assert set(ended) == {EXIT_HUNG}


@pytest.mark.parametrize("key", [DECODE, LANGUAGE])
def test_slow_model_is_not_called_hung_however_long_others_wait_for_a_place(
    client: LedgerClient, spans: RedisSpans, ended: list[int], key: Key
) -> None:
    for letter in "abcdefgh":
        client.new(letter)
    with working(spans, Gate(takes_s=0.4)) as site:
        began = time.monotonic()
        spans_done = [site.work("window", key=key)[1] for _ in range(8)]
        assert [done.result(30) for done in spans_done] == [True] * 8
        assert time.monotonic() - began > LEASE.stall_s
        assert not ended


def test_load_that_hangs_is_charged_to_the_span_that_loads_and_not_to_one_that_waits_for_it(
    client: LedgerClient, spans: RedisSpans, ended: list[int], settings: Settings
) -> None:
    for letter in "ab":
        client.new(letter)
    gate = Gate()

    def load(*_: object) -> Any:
        gate.hung.set()
        gate.over.wait(60)
        raise ModelUnavailable("too late")

    cache = ModelCache(settings, load=load)
    pipeline = Pipeline(spans=spans, sounds=cast("Any", None), models=cache, settings=settings)
    with working(spans, gate, models=cache) as site:
        hung, waits = site.hold(), site.hold()
        site.threads.submit(pipeline.run, hung)
        assert gate.hung.wait(10)
        site.threads.submit(pipeline.run, waits)
        eventually(lambda: ended, 20)
        assert set(ended) == {EXIT_HUNG}
        other = LedgerWorker(spans, "w2")
        found = {held.computation: (held.attempt, held.suspect) for held in (other.claim() for _ in "ab")}
        assert found == {hung.claim.computation: (2, True), waits.claim.computation: (1, False)}
    cache.close()


class Engine:
    """A model in memory, whose batcher is real."""

    name, device, compute_type = "gate", "cpu", "none"

    def __init__(self, gate: Gate) -> None:
        self.batcher: Batcher[str] = Batcher(gate, workers=1, capacity=10)
        self.progress = self.batcher.progress
        self.calls: Callable[[], tuple[ModelCall, ...]] = self.batcher.calls
        self.close = self.batcher.close

    @property
    def steps(self) -> int:
        return self.batcher.steps


def test_model_that_hangs_while_it_is_unloaded_is_still_seen(tmp_path: Path) -> None:
    gate = Gate()

    def load(name: str, _: Settings) -> Any:
        if name == "missing":
            raise ModelUnavailable("there is none")
        return Engine(gate)

    cache = ModelCache(Settings(data_dir=tmp_path, worker=Worker(idle_unload_s=0.01)), load=load)
    try:
        with cache.get("demo") as engine:
            future = engine.batcher.submit("hang", DECODE, owner="a", cancelled=lambda: False)  # type: ignore[attr-defined]
            assert gate.hung.wait(10)
        eventually(lambda: cache._changed.acquire(blocking=False) is False or cache._changed.release())
        (call,) = cache.calls()
        assert (call.owners, cache.steps, cache.layout != "") == (frozenset({"a"}), 0, True)
    finally:
        gate.over.set()
    eventually(lambda: not cache.calls())
    assert future.done()
    cache.close()
