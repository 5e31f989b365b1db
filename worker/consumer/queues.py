"""The Celery queues that this worker takes hints from: one for each kind of work that it can do."""

import threading
import time
from collections.abc import Callable

from transcription.errors import LedgerUnavailable
from transcription.ledger.broker import QUEUE, queue_of
from worker.consumer.celery_internals import ConsumedQueues

FOLLOW_INTERVAL_S = 1.0
IDLE_S = 600.0
"""The queue of a language or the like is left when nothing has waited in its lane for so long."""


class Queues(threading.Thread):
    """
    Lets the consumer follow the lanes in which something waits, once a second.

    Args:
        consumed: The consumer's queues.
        models: What this worker serves: their queues are consumed from the start.
        waiting: The lanes in which something waits.
        suits: Whether this worker can work for a lane.
    """

    def __init__(
        self,
        consumed: ConsumedQueues,
        *,
        models: tuple[str, ...],
        waiting: Callable[[], list[str]],
        suits: Callable[[str], bool],
    ) -> None:
        super().__init__(name="queues", daemon=True)
        self._consumed = consumed
        self._waiting = waiting
        self._suits = suits
        self._own = {QUEUE, *map(queue_of, models)}
        self._followed: dict[str, float] = {}
        self._open = True
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()

    def consume(self, on: bool) -> None:
        """Take hints, or leave them all to others."""
        self._open = on
        for queue in sorted(self._own | set(self._followed)):
            (self._consumed.add if on else self._consumed.cancel)(queue)

    def run(self) -> None:
        """Follow until told to stop."""
        while not self._stopping.wait(FOLLOW_INTERVAL_S):
            try:
                wanted = {queue_of(lane) for lane in self._waiting() if self._suits(lane)}
            except LedgerUnavailable:
                continue
            if self._open:
                self._follow(wanted - self._own, now=time.monotonic())

    def _follow(self, wanted: set[str], *, now: float) -> None:
        for queue in wanted:
            # Once each: what an operator has canceled since stays canceled.
            if queue in self._followed or self._consumed.add(queue):
                self._followed[queue] = now
        for queue, seen in list(self._followed.items()):
            if now - seen > IDLE_S and self._consumed.cancel(queue):
                del self._followed[queue]
