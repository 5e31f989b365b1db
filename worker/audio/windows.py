"""Windows: what the model hears at once, and where in the recording that was."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from transcription.media.audio import RATE, Samples, sample_at
from transcription.spans import Span
from transcription.transcript import Segment, Word

STEP_MS = 20
"""What the model can tell apart: what it finds at one moment may have taken so long."""
NEAR_SEAM_S = 1.0
"""How far a segment's times may be off where stretches meet: they end with up to 0.4 s of silence, and begin so."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """
    Stretches of speech put together, at most 30 s of them.

    ``samples`` has shape (n,), float32, 16 kHz; ``stretches`` says where its parts come from, in the recording's
    seconds. Windows don't know of each other: any of them can be computed by anybody, in any order.
    """

    stretches: tuple[Span, ...]
    samples: Samples

    @classmethod
    def collect(cls, stretches: Sequence[Span], samples: Samples, *, offset_s: float = 0.0) -> "Window":
        """
        Put a group of *stretches* together.

        Args:
            stretches: Ordered, disjoint, in the recording's seconds.
            samples: Part of the recording that holds them all.
            offset_s: Where in the recording *samples* begins.
        """
        first = sample_at(offset_s)
        return cls.joined(stretches, lambda s: samples[sample_at(s.start) - first : sample_at(s.end) - first])

    @classmethod
    def joined(cls, stretches: Sequence[Span], cut: Callable[[Span], Samples]) -> "Window":
        """Put a group of *stretches* together; *cut* gives each one's samples."""
        parts = [cut(stretch) for stretch in stretches]
        return cls(tuple(stretches), np.concatenate(parts) if parts else np.zeros(0, np.float32))

    @property
    def seconds(self) -> float:
        """How much there is to hear."""
        return self.samples.size / RATE

    def placed(self, part: Span) -> Span:
        """A part of the window, in its own seconds, in the recording's."""
        times = _Times(self.stretches)
        moved = times.bounds(Segment(part.start, part.end, ""), times.first)
        return Span(moved.start, moved.end)

    def restore(self, segments: Iterable[Segment]) -> list[Segment]:
        """
        Move *segments* from the window's time into the recording's.

        Text isn't lost because of its times: a segment that takes none, since all of it was found at one moment or
        behind the window's end, becomes part of the nearer of its neighbours.

        Returns:
            Segments and words in the order of time, none outside the window's stretches, none without text or length.
        """
        times = _Times(self.stretches)
        moved: list[Segment] = []
        floor = times.first
        for segment in segments:
            if segment.text.strip():
                moved.append(times.words(segment, floor) if segment.words else times.bounds(segment, floor))
                floor = moved[-1].end
        return [times.lengthened(one) if _is_moment(one) else one for one in _without_moments(moved)]


class _Times:
    """The way from seconds of a window to seconds of the recording, in whole milliseconds that stay inside."""

    def __init__(self, stretches: Sequence[Span]) -> None:
        self._stretches = stretches
        self._ends = list(accumulate(stretch.seconds for stretch in stretches))
        self.first = math.ceil(stretches[0].start * 1000) / 1000

    def bounds(self, segment: Segment, floor: float) -> Segment:
        """
        A segment's times; an end on a seam belongs to the stretch before it.

        The model begins a segment where the last one ended, somewhere in the silence around a seam. It would span all
        that was left out there, so a start or end that is just across a seam from most of the segment moves onto it.
        """
        start, end, length = segment.start, segment.end, segment.end - segment.start
        first, last = self._index(start), self._index(end, is_end=True)
        before, behind = self._ends[first] - start, end - self._ends[last - 1]
        starts_early = first < last and 2 * before < length and self._is_near(before, first, seam=first)
        ends_late = first < last and 2 * behind < length and self._is_near(behind, last, seam=last - 1)
        if starts_early:
            first, start = first + 1, self._ends[first]
        if ends_late:
            last, end = last - 1, self._ends[last - 1]
        moved = max(self._moved(start, first), floor)
        return replace(segment, start=moved, end=max(moved, self._moved(end, last)))

    def _is_near(self, seconds: float, stretch: int, *, seam: int) -> bool:
        """Whether so much of a *stretch* is less than what was left out at the *seam*, and hardly speech."""
        left_out = self._stretches[seam + 1].start - self._stretches[seam].end
        return seconds < min(NEAR_SEAM_S, self._stretches[stretch].seconds / 2, left_out)

    def words(self, segment: Segment, floor: float) -> Segment:
        """A segment's times from its words'; a word stays in the stretch that has its middle."""
        words: list[Word] = []
        for word in segment.words or ():
            index = self._index((word.start + word.end) / 2)
            start = max(floor, self._moved(word.start, index))
            floor = max(start, self._moved(word.end, index))
            words.append(replace(word, start=start, end=floor))
        return replace(segment, start=words[0].start, end=words[-1].end, words=tuple(words))

    def lengthened(self, segment: Segment) -> Segment:
        """*segment*, which is all of its window's and takes no time, with that of a step inside its stretch."""
        moment = round(segment.start * 1000)
        begun = bisect_right([first for first, _ in map(_inside, self._stretches)], moment)
        first, last = _inside(self._stretches[max(0, begun - 1)])
        start = max(first, min(moment, last - STEP_MS))
        end = max(start, min(start + STEP_MS, last))
        words = list(segment.words or ())
        if words:
            words[0] = replace(words[0], start=start / 1000)
            words[-1] = replace(words[-1], end=end / 1000)
        return replace(segment, start=start / 1000, end=end / 1000, words=tuple(words) if words else segment.words)

    def _index(self, time: float, *, is_end: bool = False) -> int:
        # Half a sample of tolerance: sums of seconds aren't exact.
        find, slack = (bisect_left, -0.5 / RATE) if is_end else (bisect_right, 0.5 / RATE)
        return min(find(self._ends, time + slack), len(self._ends) - 1)

    def _moved(self, time: float, index: int) -> float:
        stretch = self._stretches[index]
        begins = self._ends[index] - stretch.seconds
        moved = round((stretch.start + time - begins) * 1000)
        first, last = _inside(stretch)
        return min(max(moved, first), last) / 1000


def _inside(stretch: Span) -> tuple[int, int]:
    """The first and the last whole millisecond of *stretch*."""
    return math.ceil(stretch.start * 1000), math.floor(stretch.end * 1000)


def _is_moment(segment: Segment) -> bool:
    return segment.end <= segment.start


def _without_moments(segments: Sequence[Segment]) -> list[Segment]:
    """*segments*, in the order of time, those without length joined to a neighbour; one is left if none has length."""
    kept: list[Segment] = []
    for segment, after in zip(segments, [*segments[1:], None], strict=False):
        one = segment
        if kept and _is_moment(kept[-1]):
            one = _joined(kept.pop(), one)
        if kept and _is_moment(one) and (not after or one.start - kept[-1].end <= after.start - one.end):
            one = _joined(kept.pop(), one)
        kept.append(one)
    return kept


def _joined(first: Segment, second: Segment) -> Segment:
    """Two segments as one, with the figures of the one that has a length, and with words if they make up its text."""
    words: tuple[Word, ...] | None = None if first.words is None else ()
    if first.words and second.words:
        words = first.words + second.words
    return replace(
        second if _is_moment(first) else first,
        start=first.start,
        end=second.end,
        text=first.text + second.text,
        tokens=first.tokens + second.tokens,
        words=words,
        low_confidence=first.low_confidence or second.low_confidence,
    )
