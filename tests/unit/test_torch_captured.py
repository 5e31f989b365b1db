"""What a GPU is given as one launch, and what becomes of it where that can't be: on a card that is made up."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from worker.engines.torch import captured as module
from worker.engines.torch import graphs
from worker.engines.torch.captured import Captured
from worker.engines.torch.graphs import Steps


class Graph:
    """Takes down that it was replayed, and doesn't capture what launches `fails`."""

    fails = False
    pools: ClassVar[list[Any]] = []
    replayed = 0

    def capture_begin(self, *, pool: Any, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local", "other threads go on with what can't be captured"
        Graph.pools.append(pool)

    def capture_end(self) -> None:
        if Graph.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def pool(self) -> str:
        return "shared"

    def replay(self) -> None:
        Graph.replayed += 1


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The card; and what was logged."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(synchronize=lambda: None))
    monkeypatch.setattr(module.log, "warning", lambda what, **more: found.append({"what": what, **more}))
    monkeypatch.setattr(Graph, "pools", [])
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
    assert Graph.pools == [None, "shared"]


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
    given = torch.ones(2)
    pinned = SimpleNamespace(shape=given.shape, dtype=given.dtype, to=lambda *_, **__: given)
    doubled = Captured(lambda x: [x * 2], torch.device("cuda"))
    assert [float(doubled(pinned)[0].sum()) for _ in range(3)] == [4.0] * 3  # type: ignore[arg-type]
    assert len(warnings) == 1
    assert len(Graph.pools) == 1
