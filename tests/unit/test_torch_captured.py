"""What a GPU is given as one launch, and what becomes of it where that can't be: on a card that is made up."""

import inspect
import itertools
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from worker.engines.torch.device import captured as module
from worker.engines.torch.device import graphs
from worker.engines.torch.device.captured import FAILURES, PAUSE_S, Captured, captured
from worker.engines.torch.device.graphs import Steps


class Graph:
    """Takes down that it was replayed, and can't be captured while the card `fails`: torch takes that for going on."""

    fails = False
    pools: ClassVar[list[Any]] = []
    underway: ClassVar[list[Any]] = []
    used: ClassVar[Counter[Any]] = Counter()
    replayed = 0

    def __init__(self) -> None:
        self._pool: Any = None
        self._ended = False

    def capture_begin(self, *, pool: Any, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local", "other threads go on with what can't be captured"
        Graph.pools.append(pool)
        Graph.underway.append(pool)
        Graph.used[pool] += 1
        self._pool = pool

    def capture_end(self) -> None:
        if Graph.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        Graph.underway.remove(self._pool)
        self._ended = True

    def reset(self) -> None:
        if self._ended:
            Graph.used[self._pool] -= 1

    def replay(self) -> None:
        Graph.replayed += 1


def end_allocate(device: int, pool: Any) -> None:
    if pool not in Graph.underway:
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
    Graph.underway.remove(pool)
    assert device == 0


def release(device: int, pool: Any) -> None:
    Graph.used[pool] -= 1
    assert device == 0


class OnCard:
    """Two ones that lie on the card."""

    def copy_(self, *_: Any, **__: Any) -> None:
        return

    def __mul__(self, by: int) -> torch.Tensor:
        return torch.full((2,), float(by))


ONES: Any = SimpleNamespace(shape=(2,), dtype=torch.float32, to=lambda *_, **__: OnCard())


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The card; and what was logged."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(synchronize=lambda: None))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    handles = itertools.count()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, next(handles)))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end_allocate, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", release, raising=False)
    monkeypatch.setattr(module.log, "warning", lambda what, **more: found.append({"what": what, **more}))
    monkeypatch.setattr(Graph, "pools", [])
    monkeypatch.setattr(Graph, "underway", [])
    monkeypatch.setattr(Graph, "used", Counter())
    monkeypatch.setattr(Graph, "replayed", 0)
    monkeypatch.setattr(Graph, "fails", False)
    return found


class Slots:
    """Counts its steps; its flags lie on the card that is made up."""

    def __init__(self) -> None:
        self.done: Any = SimpleNamespace(is_cuda=True)
        self.steps: list[tuple[int, int, bool]] = []

    def step(self, rows: int, length: int, *, drawing: bool) -> None:
        self.steps.append((rows, length, drawing))


def steps(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(graphs, "place_for", lambda _: SimpleNamespace(copy_=lambda *_, **__: None))
    monkeypatch.setattr(Steps, "_event", lambda _: lambda: None)
    return Steps(slots)  # type: ignore[arg-type]


@pytest.mark.usefixtures("warnings")
def test_a_step_is_captured_once_for_each_size_and_then_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots()
    run = steps(slots, monkeypatch).run
    for _ in range(3):
        run(8, 64, drawing=False)
    run(16, 64, drawing=False)
    assert slots.steps == [(8, 64, False)] * 2 + [(16, 64, False)] * 2, "run as it is, and captured"
    assert Graph.replayed == 2
    assert Graph.pools == [(0, 0), (0, 0)]


def test_steps_that_can_not_be_captured_are_run_as_they_are(
    warnings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Graph.fails = True
    slots = Slots()
    run = steps(slots, monkeypatch).run
    for _ in range(3):
        run(8, 64, drawing=True)
    assert slots.steps == [(8, 64, True)] * 4, "the second time it was to be captured"
    assert Graph.replayed == 0
    assert [(one["what"], one["function"]) for one in warnings] == [("not captured", "step")]


def test_a_function_that_can_not_be_captured_is_computed_as_it_is(warnings: list[dict[str, Any]]) -> None:
    Graph.fails = True
    doubled = Captured(lambda x: [x * 2], torch.device("cuda"))
    assert [float(doubled(ONES)[0].sum()) for _ in range(3)] == [4.0] * 3
    assert len(warnings) == 1
    assert len(Graph.pools) == 1


@pytest.mark.usefixtures("warnings")
def test_after_a_capture_that_failed_torch_captures_nothing_any_more_and_the_next_is_tried_a_minute_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    doubled = Captured(lambda x: [x * 2], torch.device("cuda"))
    Graph.fails = True
    doubled(ONES)
    assert (Graph.underway, Graph.used) == ([], {(0, 0): 0}), "or its cache wouldn't be emptied when memory is short"
    Graph.fails = False
    now[0] = PAUSE_S - 1
    doubled(ONES)
    assert Graph.pools == [(0, 0)]
    now[0] = PAUSE_S
    doubled(ONES)
    doubled(ONES)
    assert (Graph.pools, Graph.replayed) == ([(0, 0), (0, 1)], 1), "not into the memory that is in disorder"
    assert (Graph.underway, Graph.used[0, 1]) == ([], 1)


def test_after_five_captures_in_a_row_that_failed_none_is_tried_any_more(
    warnings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    slots = Slots()
    run = steps(slots, monkeypatch).run

    def tried(times: int, length: int) -> int:
        before = len(Graph.pools)
        for _ in range(times):
            now[0] += PAUSE_S
            run(8, length, drawing=False)
        return len(Graph.pools) - before

    Graph.fails = True
    assert tried(FAILURES - 1, 64) == FAILURES - 1
    Graph.fails = False
    assert tried(2, 128) == 1, "captured, and then replayed"
    Graph.fails = True
    assert tried(3 * FAILURES, 256) == FAILURES
    assert [one["failures"] for one in warnings] == [*range(1, FAILURES), *range(1, FAILURES + 1)]


@pytest.mark.usefixtures("warnings")
def test_what_raises_while_it_is_captured_leaves_nothing_behind() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        captured(full, (0, 7))
    assert (Graph.underway, Graph.used) == ([], {(0, 7): 0})


def test_torch_has_what_a_capture_that_failed_is_ended_by() -> None:
    used = inspect.getsource(torch.cuda.memory.use_mem_pool)
    assert used.index("_cuda_endAllocateToPool(device_index, pool.id)") < used.index("_cuda_releasePool(device_index")
