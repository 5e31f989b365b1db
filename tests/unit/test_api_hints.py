"""Hints that a slow broker holds up."""

import threading

import pytest

from api.jobs.hints import Hints
from tests.platform import eventually_async

pytestmark = pytest.mark.anyio


class SlowQueue:
    """A queue whose broker hangs until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls: list[int] = []

    def hint(self, lane: str, count: int = 1) -> None:
        self.calls.append(count)
        self.go_on.wait(10)

    def waiting(self, lane: str) -> int:
        return 0


async def test_hanging_broker_holds_one_thread_and_later_hints_go_out_together() -> None:
    queue = SlowQueue()
    hints = Hints(queue)
    for _ in range(3):
        hints.send("demo")
        await eventually_async(lambda: queue.calls == [1])
    queue.go_on.set()
    await hints.close()
    assert queue.calls == [1, 2]


async def test_hint_goes_out_after_others_have_gone_out_long_before() -> None:
    queue = SlowQueue()
    queue.go_on.set()
    hints = Hints(queue)
    for sent in (1, 2):
        hints.send("demo")
        await eventually_async(lambda sent=sent: queue.calls == [1] * sent and hints._sending is None)  # type: ignore[misc]
    assert queue.calls == [1, 1]
