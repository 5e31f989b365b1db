"""Admission: whether there is memory for another span, besides a place for it."""

import time
from collections.abc import Callable

from transcription.observability.memory import Memory, memory

SPAN_BYTES = 192 << 20
"""What a span takes at most, however long its recording is: its decoder, and a block of the search for speech."""

LOOK_S = 0.2
"""How old the figure of the memory's use may be: reading it takes as long as claiming a span."""


class Admission:
    """Asked before each claim; for the first span that a worker holds there always is memory."""

    def __init__(self, read: Callable[[], Memory] = memory, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._free = 0
        self._good_to = -1.0

    def room(self, *, held: int) -> bool:
        """Whether a worker that holds so many spans has memory for one more."""
        if held == 0:
            return True
        now = self._clock()
        if now > self._good_to:
            found = self._read()
            self._free, self._good_to = found.total - found.used, now + LOOK_S
        return self._free >= SPAN_BYTES
