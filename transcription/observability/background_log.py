"""Log lines written by a thread: who logs waits neither for the encoder nor for whoever reads the lines."""

import atexit
import contextvars
import logging
import queue
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from typing import Any

MOST_WAITING = 10_000
"""Lines that may wait; with more, whoever logs writes by itself, and waits as it would without a thread."""


class BackgroundHandler(QueueHandler):
    """
    Hands records to a thread that gives them to *handler*, in the context in which they were logged.

    `close` writes what waits; from then on, lines are written at once.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self._waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
        super().__init__(self._waiting)
        self._handler = handler
        self._listener: _Listener | None = _Listener(self._waiting, handler)
        self._listener.start()
        atexit.register(self.close)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Keep the record as it is: the thread formats it."""
        record.logged_in = contextvars.copy_context()
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Let the thread write it, or write it here where that can't be."""
        if self._listener is not None:
            with suppress(queue.Full):
                self._waiting.put_nowait(record)
                return
        _write(self._handler.handle, record)

    def close(self) -> None:
        """Write what waits; lines that come later are written at once."""
        atexit.unregister(self.close)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()


class _Listener(QueueListener):
    def enqueue_sentinel(self) -> None:
        """Say that this is the end, when there is room for that: more lines may wait than fit."""
        self.queue.put(self._sentinel)  # type: ignore[attr-defined]

    def handle(self, record: logging.LogRecord) -> None:
        """Format and write a record with what its context knew: the request's id, for one."""
        _write(super().handle, record)


def _write(handle: Callable[[logging.LogRecord], Any], record: logging.LogRecord) -> None:
    logged_in: contextvars.Context = record.__dict__.pop("logged_in")
    logged_in.run(handle, record)
