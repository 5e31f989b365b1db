import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import demo
from transcription.computation import Claim
from transcription.errors import ModelUnavailable, Stopped
from transcription.settings import Settings, Worker
from worker import model_cache
from worker.batcher import ModelCall
from worker.leases import Held
from worker.model_cache import ModelCache
from worker.pipelines.transcription import Pipeline


class FakeEngine:
    device, compute_type = "cpu", "int8"

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 7
        self.closed = False
        self.encoder = ""
        self.calls: Callable[[], tuple[str, ...]] = tuple

    def close(self) -> None:
        self.closed = True


class Loader:
    """Makes fake engines; remembers them."""

    def __init__(self) -> None:
        self.made: list[FakeEngine] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, name: str, _: Settings) -> Any:
        assert self.gate.wait(10)
        if name == "missing":
            raise ModelUnavailable("there is none")
        if name == "broken":
            raise RuntimeError("the card fell off the bus")
        self.made.append(FakeEngine(name))
        return self.made[-1]


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def make(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelCache]]:
    monkeypatch.setattr(model_cache, "WAIT_S", 60.0)  # who waits is woken by what it waits for
    with ExitStack() as stack:

        def made(**worker: Any) -> ModelCache:
            cache = ModelCache(Settings(worker=Worker(**{"idle_unload_s": 0, **worker})), load=loader)
            stack.callback(cache.close)
            return cache

        yield made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_model_is_loaded_once_however_many_ask(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make()
    loader.gate.clear()

    def ask() -> str:
        with cache.get("demo") as engine:
            return engine.name

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        loader.gate.set()
        assert [one.result(10) for one in asked] == ["demo"] * 8
    assert len(loader.made) == 1


def test_the_least_recently_used_goes_first(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make(max_models=2)
    for name in ("a", "b", "a", "c"):
        with cache.get(name):
            pass
    assert cache.names() == ("a", "c")
    assert [engine.name for engine in loader.made if engine.closed] == ["b"]


def test_a_model_in_use_stays_until_it_is_given_back(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make(max_models=1)
    got = threading.Event()

    def other() -> None:
        with cache.get("b"):
            got.set()

    with cache.get("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(0.2)
        assert not loader.made[0].closed
    assert got.wait(10)
    thread.join(10)
    assert loader.made[0].closed


def test_the_least_recently_used_stays_while_it_is_in_use_and_an_idle_one_goes(
    make: Callable[..., ModelCache], loader: Loader
) -> None:
    cache = make(max_models=2)
    with cache.get("a"):
        with cache.get("b"):
            pass
        with cache.get("c"):
            assert cache.names() == ("a", "c")
    assert [engine.name for engine in loader.made if engine.closed] == ["b"]


def test_a_model_that_could_not_be_loaded_is_loaded_when_its_weights_are_back(tmp_path: Path) -> None:
    answers: list[Any] = [ModelUnavailable("the share is away"), FakeEngine("demo")]

    def load(*_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = ModelCache(Settings(data_dir=tmp_path), load=load)
    with pytest.raises(ModelUnavailable, match="away"), cache.get("demo"):
        pass
    with cache.get("demo") as engine:
        assert engine.name == "demo"
    cache.close()


def test_a_model_in_constant_use_can_not_keep_another_out(make: Callable[..., ModelCache]) -> None:
    cache = make(max_models=1)
    order: list[str] = []

    def use(name: str) -> None:
        with cache.get(name):
            order.append(name)

    with cache.get("a"):
        waiting = threading.Thread(target=use, args=("b",))
        waiting.start()
        until(lambda: len(cache._queue) == 1)
        late = threading.Thread(target=use, args=("a",))
        late.start()
        until(lambda: len(cache._queue) == 2)
    for thread in (waiting, late):
        thread.join(10)
    assert order == ["b", "a"]


def test_loading_one_model_holds_up_nobody_who_has_another(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make(max_models=2)
    with cache.get("a"):
        pass
    loader.gate.clear()
    slow = threading.Thread(target=lambda: cache.get("b").__enter__())
    slow.start()
    until(lambda: "b" in cache._entries)
    with cache.get("a") as engine:
        assert engine.name == "a"
    assert cache.names() == ("a",)
    loader.gate.set()
    slow.join(10)


@pytest.mark.parametrize(("name", "first"), [("missing", ModelUnavailable), ("broken", RuntimeError)])
def test_a_load_that_fails_fails_everybody_who_waits_and_can_be_tried_again(
    make: Callable[..., ModelCache], loader: Loader, name: str, first: type[Exception]
) -> None:
    cache = make(max_models=1)
    loader.gate.clear()

    def ask() -> None:
        with cache.get(name):
            pass

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask) for _ in range(3)]
        until(lambda: bool(cache._entries) and cache._entries[name].users == 3)
        loader.gate.set()
        errors = [one.exception(10) for one in asked]
    assert sum(type(error) is ModelUnavailable for error in errors) >= 2
    assert any(type(error) is first for error in errors)
    with cache.get("a") as engine:
        assert engine.name == "a"


def test_who_waits_for_a_load_gets_the_model_while_the_one_who_loaded_it_still_uses_it(
    make: Callable[..., ModelCache], loader: Loader
) -> None:
    cache = make(max_models=1)
    loader.gate.clear()
    used, done = threading.Barrier(2, timeout=10), []

    def use() -> None:
        with cache.get("a") as engine:
            used.wait()  # for the other one
            done.append(engine)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(use) for _ in range(2)]
        until(lambda: bool(cache._entries) and cache._entries["a"].users == 2)
        loader.gate.set()
        for one in asked:
            one.result(20)
    assert len(done) == 2


def test_a_model_is_in_use_until_the_last_one_gives_it_back(make: Callable[..., ModelCache]) -> None:
    cache = make(max_models=1)
    with cache.get("a"):
        with cache.get("a"):
            pass
        assert cache._entries["a"].users == 1
    assert cache._entries["a"].users == 0


def test_a_model_that_was_fetched_for_its_load_has_the_revision_of_what_came(
    make: Callable[..., ModelCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, found = make(), iter(("", "r1"))
    monkeypatch.setattr(cache, "_disk_revision", lambda _: next(found))
    with cache.get("a"):
        assert cache.revision("a") == "r1"


def test_what_encodes_the_models_in_memory_is_said(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make()
    before = cache.layout
    with cache.get("a"):
        loader.made[0].encoder = "openvino (it is quicker)"
        assert cache.layout == f"{before}, encoder openvino (it is quicker)"


def test_an_idle_model_is_unloaded(make: Callable[..., ModelCache], loader: Loader) -> None:
    cache = make(idle_unload_s=0.1)
    with cache.get("a"):
        used_since = time.monotonic()
        until(lambda: time.monotonic() - used_since > 0.2)  # longer than the idle time: in use it stays
        assert cache.names() == ("a",)
    until(lambda: loader.made[0].closed)
    assert cache.names() == ()
    with cache.get("a"):
        assert len(loader.made) == 2


def test_steps_never_go_back(make: Callable[..., ModelCache]) -> None:
    cache = make(max_models=1)
    for name in ("a", "b"):
        with cache.get(name):
            pass
    assert cache.steps == 14


def test_a_model_on_its_way_from_the_hub_counts_as_progress(tmp_path: Path, loader: Loader) -> None:
    cache = ModelCache(Settings(data_dir=tmp_path), load=loader)
    loader.gate.clear()
    with ThreadPoolExecutor(1) as pool:

        def use() -> None:
            with cache.get("a"):
                pass

        loading = pool.submit(use)
        until(lambda: bool(cache._entries))
        before = cache.steps
        blobs = tmp_path / "models" / "models--org--a" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "weights.incomplete").write_bytes(bytes(1000))
        (blobs / "moved").symlink_to("where it went")
        assert cache.steps == before + 1000
        loader.gate.set()
        loading.result()
    assert cache.steps == 7
    cache.close()


def test_what_comes_from_the_hub_is_no_progress_of_a_load_that_has_failed(tmp_path: Path, loader: Loader) -> None:
    cache = ModelCache(Settings(data_dir=tmp_path, worker=Worker(idle_unload_s=0)), load=loader)
    with pytest.raises(ModelUnavailable), cache.get("missing"):
        pass
    blobs = tmp_path / "models" / "models--org--a" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "of somebody else").write_bytes(bytes(1000))
    assert cache.steps == 0
    cache.close()


def test_a_model_is_idle_since_its_last_use(make: Callable[..., ModelCache], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, clock = make(), SimpleNamespace()
    monkeypatch.setattr(model_cache, "time", clock)  # caches that other tests have left may look at it, too
    for since in (5.0, 50.0):
        clock.monotonic = lambda now=since: now
        with cache.get("a"):
            pass
        assert cache._entries["a"].since == since


def test_calls_that_have_not_come_back_are_those_of_every_model_in_memory(
    make: Callable[..., ModelCache], loader: Loader
) -> None:
    cache = make(max_models=2)
    for name in ("a", "b"):
        with cache.get(name):
            pass
    for engine in loader.made:
        engine.calls = lambda name=engine.name: (f"of {name}",)
    assert cast("Any", cache.calls()) == ("of a", "of b")
    cache.close()
    assert cache.calls() == ()


def span_of(model: str) -> Held:
    return Held(cast("Claim", SimpleNamespace(model=model, name="c/0")))


@pytest.mark.parametrize("waits_for", ["a place", "a load"])
def test_span_that_waits_for_its_model_shows_progress_and_hears_of_its_cancel(
    make: Callable[..., ModelCache], loader: Loader, monkeypatch: pytest.MonkeyPatch, waits_for: str
) -> None:
    monkeypatch.setattr(model_cache, "WAIT_S", 0.005)
    cache, held = make(max_models=1), span_of("b")
    pipeline = Pipeline(spans=cast("Any", None), sounds=cast("Any", None), models=cache, settings=Settings())
    with ThreadPoolExecutor(2) as pool, ExitStack() as first:
        if waits_for == "a place":
            first.enter_context(cache.get("a"))
        else:
            first.callback(loader.gate.set)
            loader.gate.clear()
            pool.submit(cache.get("b").__enter__)
            until(lambda: "b" in cache._entries)
        running = pool.submit(pipeline.run, held)
        until(lambda: bool(cache._queue) or any(entry.users == 2 for entry in cache._entries.values()))
        for _ in range(3):
            seen = held.progressed_at
            until(lambda seen=seen: held.progressed_at > seen)  # type: ignore[misc]
        held.unwanted = True
        with pytest.raises(Stopped):
            running.result(10)
        assert not cache._queue
        assert all(entry.users == 1 for entry in cache._entries.values())


def test_load_is_a_call_that_has_not_come_back_since_the_last_sign_of_it(
    make: Callable[..., ModelCache], loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, clock = make(max_models=2), SimpleNamespace(monotonic=lambda: 5.0)
    monkeypatch.setattr(model_cache, "time", clock)
    with cache.get("a"), ThreadPoolExecutor(1) as pool, ExitStack() as ending:
        ending.callback(loader.gate.set)
        loader.gate.clear()
        loading = pool.submit(lambda: cache.get("b").__enter__())
        until(lambda: bool(cache.calls()))
        for clock.monotonic in (lambda: 50.0, lambda: 60.0):  # nobody asks for the span whose thread it is
            assert cache.calls() == (ModelCall(5.0, frozenset()),)
        loader.made[0].steps += 1
        assert cache.calls() == (ModelCall(60.0, frozenset()),)
        loader.gate.set()
        loading.result(10)
    assert cache.calls() == ()


def test_the_cache_says_what_it_computes_with(make: Callable[..., ModelCache]) -> None:
    cache = make()
    assert cache.engine == "faster_whisper"
    assert cache.device in {"cpu", "cuda"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    demo.export_ct2(tmp_path / "tiny", size="tiny")
    script = Path(__file__).with_name("unloading.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tiny")],
        capture_output=True, text=True, check=True, timeout=100, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    before, loaded, after = map(int, done.stdout.splitlines()[-1].split())  # log lines come first
    assert loaded - before > 150 << 20
    assert after - before < (loaded - before) / 4
