"""In order: rows that are in the batcher a few at a time, and come back in the order in which they were handed in."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

from transcription.errors import Stopped
from worker.batcher import POLL_INTERVAL_S

Item = TypeVar("Item")
Row = TypeVar("Row")


def in_order(
    handed_in: "Iterable[tuple[Item, Future[Row]]]", *, ahead: int, cancelled: Callable[[], bool]
) -> Generator[tuple[Item, Row]]:
    """
    Give each item with its row once that is finished.

    Args:
        handed_in: Items with what was handed in for them; taken from *ahead* of what is given.
        cancelled: Asked now and then while a row isn't finished.

    Raises:
        Stopped: *cancelled* said so. However this ends, what is left of the rows is canceled.
    """
    waiting: deque[tuple[Item, Future[Row]]] = deque()
    try:
        for entry in handed_in:
            waiting.append(entry)
            if len(waiting) >= ahead:
                item, future = waiting.popleft()
                yield item, wait(future, cancelled)
        while waiting:
            item, future = waiting.popleft()
            yield item, wait(future, cancelled)
    finally:
        for _, future in waiting:
            future.cancel()


def wait(future: "Future[Row]", cancelled: Callable[[], bool]) -> Row:
    """The row once it is finished; looks up every now and then whether it is still wanted. Stopped."""
    while True:
        with contextlib.suppress(TimeoutError):
            return future.result(timeout=POLL_INTERVAL_S)
        if cancelled():
            future.cancel()
            raise Stopped("nobody waits for this any more")
