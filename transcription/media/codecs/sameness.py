"""Sameness: which channels of a recording hold the same sound."""

import numpy as np
from numpy.typing import NDArray

LEAST_DIFFERENCE = 1e-5
"""Share of a channel's power (-50 dB): what differs by less is the same sound; lossy codecs leave so much."""


class Sameness:
    """
    Compares a channel with each one before it, block by block.

    Args:
        channel: Its number, from 1 on.
    """

    def __init__(self, channel: int) -> None:
        self._before = channel - 1
        self._power = 0.0
        self._differences = np.zeros(self._before)
        self._heard = False

    def hear(self, block: NDArray[np.float32]) -> None:
        """Take a block of the recording, shape (channels, samples); channels that it hasn't are silent."""
        self._heard = True
        own = _channel(block, self._before)
        self._power += float(np.square(own, dtype=np.float64).sum())
        for number in range(self._before):
            self._differences[number] += float(np.square(own - _channel(block, number), dtype=np.float64).sum())

    @property
    def same_as(self) -> int | None:
        """The first channel before it with the same sound, by its number; None: there is none."""
        if not self._heard:
            return None
        equal = self._differences <= LEAST_DIFFERENCE * self._power
        return int(np.argmax(equal)) + 1 if equal.any() else None


def _channel(block: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    return block[index] if index < len(block) else np.zeros(block.shape[1], np.float32)
