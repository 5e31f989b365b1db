"""
What is used of Celery's worker without its promise: this file alone does, and a test fails when it changes.

A message's strategy, which claims a span before Celery makes a task of the message; when events are sent; the steps
that a worker leaves out; and the queues of its consumer.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from celery import Celery, Task
from celery.worker.consumer import Consumer
from celery.worker.strategy import default as default_strategy

log = structlog.get_logger()

HEARTBEAT_INTERVAL_S = 10.0
"""Between two events that only say that a worker lives; Celery's and Flower's patience is twice that."""

EVENTS_S = 0.2
"""For which events about tasks wait for others, which go in the same message; Flower shows them so much later."""

CONSUMER = f"{__name__}:GroupingConsumer"


class GroupingConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, which sends a moment's events about tasks together; Celery's own sends each by itself."""

    _sent_from = 0.0

    def on_send_event_buffered(self) -> None:
        """Send what is buffered, soon; any thread may call it."""
        now = time.monotonic()
        if self.hub and now >= self._sent_from:
            self._sent_from = now + EVENTS_S
            self.hub.call_soon(self.hub.call_later, EVENTS_S, self._flush_events)


@dataclass(frozen=True, slots=True)
class Shown:
    """A task as Celery's events, `inspect` and Flower are to show it."""

    id: str
    name: str
    retries: int
    keywords: dict[str, Any]


def claim_first(
    claim: Callable[[], Shown | None], task: Task, app: Celery, consumer: Any, **options: Any
) -> Callable[..., Any]:
    """
    Celery's strategy for a task: what happens to each of its messages, in the consumer's thread.

    A message becomes the task that *claim* names; where it names none, the message is used up and nothing shows.
    """
    handle = default_strategy(task, app, consumer, **options)

    def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        shown = claim()
        if shown is None:
            ack(log, consumer.connection_errors)
            return None
        message.headers.update(
            id=shown.id,
            root_id=shown.id,
            shadow=shown.name,
            argsrepr="()",
            kwargsrepr=repr(shown.keywords),
            retries=shown.retries,
        )
        message._decoded_cache = [(), shown.keywords, {}]  # noqa: SLF001
        return handle(message, body, ack, reject, callbacks, **more)

    return take


def leave_out(worker: Any) -> None:
    """
    Let a worker that is about to start not listen to the other workers.

    Each would hear every heartbeat of every other one (gossip), and ask all of them at its start (mingle): for a
    thousand workers half a million messages a second, which tell nobody anything that the ledger doesn't know.
    """
    worker.options.update(without_gossip=True, without_mingle=True)
    worker.options["heartbeat_interval"] = worker.options.get("heartbeat_interval") or HEARTBEAT_INTERVAL_S


class ConsumedQueues(Protocol):
    """The queues that a worker takes hints from. Any thread may change them; the consumer's own does it, soon."""

    def add(self, queue: str) -> bool:
        """Take hints from a queue. False: there is no consumer yet, or no broker."""

    def cancel(self, queue: str) -> bool:
        """Take none from it any more. False as above."""


class WorkerQueues:
    """
    The queues of a Celery worker's consumer.

    Not by remote control: a command is sent to every worker there is, which then finds that it isn't meant.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def add(self, queue: str) -> bool:
        """Consume a queue."""
        return self._soon("add_task_queue", queue)

    def cancel(self, queue: str) -> bool:
        """Consume a queue no more."""
        return self._soon("cancel_task_queue", queue)

    def _soon(self, method: str, queue: str) -> bool:
        consumer: Any = getattr(self._worker, "consumer", None)
        if getattr(consumer, "task_consumer", None) is None:
            return False

        def change() -> None:
            # Celery first notes what is to be consumed: where the connection is lost just now, its next one does it.
            with suppress(Exception):
                getattr(consumer, method)(queue)

        consumer.call_soon(change)
        return True
