"""Timeline: where sound stands in its recording. What is missing is silence; a long one is held as a gap."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transcription.media.audio import RATE
from transcription.spans import Span

TOLERANCE_S = 0.1
"""Time stamps may be off the sound by so much: it is what they jitter by."""

OVERLAP_S = 0.5
"""Stamps that fall behind the sound by more than this have jumped back."""

LONGEST_GAP_S = 5400.0
"""Silence that a recording may have between two packets; a longer jump of the stamps is none."""

WRITTEN_S = 2.0
"""Silence up to this length is written out; of a longer one so much, and the rest is a hole."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Silence that isn't held as samples: ``samples`` of it, before the held sample ``at``."""

    at: int
    samples: int


class Holes:
    """The way between held samples and the recording's time; all in whole samples."""

    def __init__(self, holes: Iterable[Hole] = ()) -> None:
        self.all = tuple(holes)
        self._at = [hole.at for hole in self.all]
        self._before = [0]
        for hole in self.all:
            self._before.append(self._before[-1] + hole.samples)
        # Where each hole ends in the recording.
        self._ends = [hole.at + self._before[index + 1] for index, hole in enumerate(self.all)]

    @property
    def samples(self) -> int:
        """All of them together."""
        return self._before[-1]

    def time_of(self, held: int) -> int:
        """Where the held sample stands in the recording."""
        return held + self._before[bisect_right(self._at, held)]

    def held_at(self, time: int) -> int:
        """The held sample at *time*, the one after the hole for a time in a hole."""
        index = bisect_right(self._ends, time)
        held = time - self._before[index]
        return min(held, self._at[index]) if index < len(self._at) else held

    def placed(self, stretches: Sequence[Span]) -> list[Span]:
        """Move *stretches*, in seconds of held sound, into the recording's time; one that holds a hole is cut there."""
        if not self.all:
            return list(stretches)
        found = []
        for stretch in stretches:
            first, last = round(stretch.start * RATE), round(stretch.end * RATE)
            inner = self._at[bisect_right(self._at, first) : bisect_right(self._at, last - 1)]
            for begin, end in zip([first, *inner], [*inner, last], strict=True):
                if end > begin:
                    start = self.time_of(begin)
                    found.append(Span(start / RATE, (start + end - begin) / RATE))
        return found


def checked(raw: Iterable[Sequence[int]], *, held: int) -> Holes:
    """
    Holes as they came from a process that read an untrusted file.

    Raises:
        ValueError: they aren't ordered, or aren't inside the sound.
    """
    holes = [Hole(int(at), int(samples)) for at, samples in raw]
    last = -1
    for hole in holes:
        if not last < hole.at <= held or not 0 < hole.samples <= (LONGEST_GAP_S + 1) * RATE:
            raise ValueError(f"a hole of {hole.samples} samples at {hole.at} can't be")
        last = hole.at
    return Holes(holes)


class Placer:
    """
    Decides, frame by frame, how much silence goes before each.

    Args:
        limit_s: Longest timeline that silence may lead to.
    """

    def __init__(self, *, limit_s: float) -> None:
        self.end = 0.0
        self._limit_s = limit_s
        self._offset = 0.0

    def begin(self) -> None:
        """The stamps that follow begin at zero again: another container comes."""
        self._offset = self.end

    def gap(self, time: float | None) -> float | None:
        """
        How long the silence before a frame is that is stamped *time*, in seconds.

        Returns:
            0.0 for sound that goes on; None where the stamps jumped as no recording does.
        """
        if time is None:
            return 0.0
        ahead = time + self._offset - self.end
        if -OVERLAP_S <= ahead <= TOLERANCE_S:
            return 0.0
        if TOLERANCE_S < ahead <= LONGEST_GAP_S and self.end + ahead <= self._limit_s:
            return ahead
        self._offset -= ahead
        return None

    def shift(self, seconds: float) -> None:
        """Move the stamps that follow: so much more was missing than they say."""
        self._offset += seconds
