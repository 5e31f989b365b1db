"""The Celery queues that this worker takes hints from: one for each kind of work that it can do."""

import threading
from collections.abc import Callable

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from transcription.errors import LedgerUnavailable
from transcription.ledger.broker import QUEUE, queue_of

log = structlog.get_logger()

FOLLOW_INTERVAL_S = 1.0
REPLY_TIMEOUT_S = 1.0


class Queues(threading.Thread):
    """
    Lets the consumer follow the lanes in which something waits, once a second.

    Args:
        app: Celery, whose consumer is told by its own remote control.
        worker: The worker's name.
        models: What it serves: their queues are consumed from the start.
        waiting: The lanes in which something waits.
        suits: Whether this worker can work for a lane.
    """

    def __init__(
        self,
        app: Celery,
        worker: str,
        *,
        models: tuple[str, ...],
        waiting: Callable[[], list[str]],
        suits: Callable[[str], bool],
    ) -> None:
        super().__init__(name="queues", daemon=True)
        self._control = app.control
        self._worker = worker
        self._waiting = waiting
        self._suits = suits
        self._consumed = {QUEUE, *map(queue_of, models)}
        self._open = True
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()

    def consume(self, on: bool) -> None:
        """Take hints, or leave them all to others."""
        self._open = on
        for queue in sorted(self._consumed):
            self._control_consumer("add_consumer" if on else "cancel_consumer", queue)

    def run(self) -> None:
        """Follow until told to stop."""
        while not self._stopping.wait(FOLLOW_INTERVAL_S):
            try:
                wanted = {queue_of(lane) for lane in self._waiting() if self._suits(lane)}
            except LedgerUnavailable:
                continue
            for queue in sorted(wanted - self._consumed) if self._open else ():
                if self._control_consumer("add_consumer", queue):
                    self._consumed.add(queue)

    def _control_consumer(self, command: str, queue: str) -> bool:
        """Whether the consumer heard it; right after the start it may not listen yet."""
        try:
            send = getattr(self._control, command)
            return bool(send(queue, destination=[self._worker], reply=True, timeout=REPLY_TIMEOUT_S, limit=1))
        except (OperationalError, RedisError, OSError) as error:
            log.warning("Celery's consumer didn't answer", command=command, queue=queue, error=str(error))
            return False
