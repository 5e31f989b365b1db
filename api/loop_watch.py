"""A process whose event loop stands still answers nobody: it ends itself, and is started again."""

import faulthandler
import os
import threading
import time

import structlog

from transcription.observability import logs

EXIT_STUCK = 74
STUCK_S = 60
LOOK_S = 1.0

log = structlog.get_logger()


class LoopWatch:
    """
    Watches one event loop from a thread; the loop calls `beat`.

    Looks without a beat are counted, not seconds: a process that was stopped, or a laptop that slept, misses none.

    Args:
        looks: So many in a row without a beat end the process.
        every_s: Time between two looks.
    """

    def __init__(self, *, looks: int = STUCK_S, every_s: float = LOOK_S) -> None:
        self._looks, self._every_s = looks, every_s
        self._beats = 0
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more: the loop is about to end."""
        self._over.set()

    def beat(self) -> None:
        """Say, in the loop, that it runs."""
        self._beats += 1

    def _watch(self) -> None:
        seen, missed = self._beats, 0
        while not self._over.wait(self._every_s):
            missed = missed + 1 if self._beats == seen else 0
            seen = self._beats
            if missed >= self._looks:
                _end(missed * self._every_s)


def _end(seconds: float) -> None:
    faulthandler.dump_traceback()
    log.critical("the event loop stands still; the process exits", seconds=round(seconds, 1))
    # What waits to be written may wait for what stands still.
    threading.Thread(target=logs.write_directly, daemon=True).start()
    time.sleep(LOOK_S)
    os._exit(EXIT_STUCK)
