"""A worker's runtime by its parts, without a ledger or a model: spans of one name, and what a stop tells whom."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from worker.runtime import WorkerRuntime


def runtime_of(**parts: Any) -> Any:
    """A runtime that has these parts only."""
    made: Any = object.__new__(WorkerRuntime)
    for name, part in parts.items():
        setattr(made, f"_{name}", part)
    return made


def held(token: int) -> Any:
    """A span that was claimed; a job's span that was lost and claimed again has the name of before."""
    return SimpleNamespace(claim=SimpleNamespace(request_id="r", job="j", computation="c", index=0, token=token))


def test_two_spans_of_one_name_are_worked_on_one_after_the_other() -> None:
    removed: list[Any] = []
    runner = SimpleNamespace(run=lambda one: one.claim.token)
    leases = SimpleNamespace(remove=lambda one: removed.append(one.claim.token))
    runtime = runtime_of(taken={"j-0": deque([held(1), held(2)])}, runner=runner, leases=leases)
    assert [runtime.work("j-0"), runtime.work("j-0")] == [1, 2]
    assert removed == [1, 2]
    assert runtime._taken == {}


class Leases:
    """Leases that are told to drain, or to end."""

    def __init__(self) -> None:
        self.draining = False
        self.told: list[str] = []

    def is_alive(self) -> bool:
        return True

    def drain(self) -> None:
        self.draining = True
        self.told.append("drain")

    def stop(self) -> None:
        self.told.append("stop")


@pytest.mark.parametrize(
    ("drain_s", "at_once", "told"),
    [(60, [False], ["drain"]), (60, [False, False], ["drain", "stop"]), (60, [True], ["stop"]), (0, [False], ["stop"])],
)
def test_a_stop_drains_once_ends_at_once_the_second_time_and_takes_nothing_more(
    drain_s: float, at_once: list[bool], told: list[str]
) -> None:
    leases, ended = Leases(), list[str]()
    parts = {
        name: SimpleNamespace(stop=lambda name=name: ended.append(name), close=lambda name=name: ended.append(name))
        for name in ("queues", "maintenance", "webhook_dispatcher", "quarantine")
    }
    settings = SimpleNamespace(worker=SimpleNamespace(drain_s=drain_s))
    runtime = runtime_of(leases=leases, settings=settings, leaving=False, exit=lambda: None, **parts)
    for now in at_once:
        runtime.stop(at_once=now)
    assert leases.told == told
    assert sorted(ended) == ["maintenance", "quarantine", "queues", "webhook_dispatcher"]
