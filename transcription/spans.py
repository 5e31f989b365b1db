"""Spans: where a long recording is cut, so that many workers can share it and a lost one costs little."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ROUNDING_S = 0.002
"""What rounding both ends of a stretch can add to its length."""


LEAST_SPAN_S = 60.0
SPAN_WORK_S = 60.0


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a recording, in seconds, ``start <= end``."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start


def cut(speech: Sequence[Span], duration_s: float, *, target_s: float) -> list[Span]:
    """
    Cut a recording at silences into spans of about *target_s*.

    Args:
        speech: Where there is speech: ordered, disjoint.
        duration_s: The recording's length in seconds.
        target_s: Length a span should have. It gets longer only where no stretch ends.

    Returns:
        Ordered spans without gaps that cover [0, *duration_s*]; one for a recording of up to 1.5 *target_s*.
        Every cut lies in the middle of a silence, or where two stretches touch.
    """
    if duration_s <= 1.5 * target_s:
        return [Span(0.0, duration_s)]
    silences = [Span(a.end, b.start) for a, b in pairwise(speech)]
    cuts = [0.0]
    for before, silence in enumerate(silences):
        middle = (silence.start + silence.end) / 2
        following = silences[before + 1] if before + 1 < len(silences) else None
        next_middle = (following.start + following.end) / 2 if following else duration_s
        nearer = abs(middle - cuts[-1] - target_s) <= abs(next_middle - cuts[-1] - target_s)
        if (nearer or middle - cuts[-1] >= target_s) and middle - cuts[-1] >= target_s / 2:
            cuts.append(middle)
    if len(cuts) > 1 and duration_s - cuts[-1] < target_s / 4:
        cuts.pop()
    return [Span(a, b) for a, b in zip(cuts, [*cuts[1:], duration_s], strict=True)]


def span_length(limit_s: float, rate: float | None) -> float:
    """
    How long spans should be.

    Args:
        limit_s: What they may be.
        rate: The worker's speed in audio-seconds per second, None while it isn't known.

    Returns:
        What the worker computes in a minute, so that little is lost with a slow one; at least a minute of audio.
    """
    return limit_s if rate is None else min(limit_s, max(LEAST_SPAN_S, rate * SPAN_WORK_S))


@dataclass(frozen=True, slots=True)
class Piece:
    """A span and the stretches of speech in it, all in absolute seconds."""

    span: Span
    speech: tuple[Span, ...]


def pieces(speech: Sequence[Span], duration_s: float, *, target_s: float) -> list[Piece]:
    """Cut a recording as `cut` does, and give each span its speech. Times are rounded to what the ledger keeps."""
    rounded = [Span(round(s.start, 3), round(s.end, 3)) for s in speech]
    spans = [Span(round(s.start, 3), round(s.end, 3)) for s in cut(rounded, duration_s, target_s=target_s)]
    return [Piece(span, tuple(s for s in rounded if span.start <= s.start < span.end)) for span in spans]


def windows(speech: Sequence[Span], *, limit_s: float = 30.0) -> list[list[Span]]:
    """
    Group stretches of speech into windows that hold at most *limit_s* seconds of speech each.

    Args:
        speech: Ordered, disjoint stretches in seconds.
        limit_s: What the model hears at once, in seconds.

    Returns:
        For each window its stretches, in order. A stretch longer than the limit is cut at the limit.
        The same speech gives the same windows, whoever computes them: checkpoints count on that.
    """
    groups: list[list[Span]] = []
    room = 0.0
    for stretch in speech:
        start = stretch.start
        while stretch.end - start > limit_s + ROUNDING_S:
            groups.append([Span(start, start + limit_s)])
            start += limit_s
            room = 0.0
        rest = Span(start, stretch.end)
        if rest.seconds <= 0:
            continue
        if groups and rest.seconds <= room:
            groups[-1].append(rest)
            room -= rest.seconds
        else:
            groups.append([rest])
            room = limit_s - rest.seconds
    return groups
