"""An event loop whose time passes only where it would wait, or where a test says so: no test sleeps, none is late."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from transcription.ledger.connections import fail_fast

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to its next timer instead of waiting for it; ``now`` is its clock, ``computed`` its thread's."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.computed = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            self.now += timeout or 0.0
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def run(what: Coroutine[Any, Any, T]) -> T:
    """Run *what* on a loop of its own."""
    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        patch.object(fail_fast, "thread_time", lambda: _running().computed),
    ):
        return runner.run(what)


def busy(seconds: float) -> None:
    """Keep the running loop from everybody else for so long, as other processes do."""
    _running().now += seconds


def compute(seconds: float) -> None:
    """Keep the running loop busy itself for so long."""
    busy(seconds)
    _running().computed += seconds


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
