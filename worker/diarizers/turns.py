"""From clusters of windows to turns: every tenth of a second belongs to the voice that its windows are most like."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from transcription.spans import Span
from transcription.speakers import Turn
from worker.diarizers.base import Voices
from worker.diarizers.clustering import Vectors

FRAME_S = 0.05
SWITCH_COST = 0.5
"""Likeness, summed over frames, that another voice must be ahead before it is believed to have begun."""

Scores = NDArray[np.float32]


def resegment(voices: Voices, speech: Sequence[Span], means: Vectors) -> list[Turn]:
    """
    Say who speaks when, stretch by stretch.

    Args:
        voices: What was heard.
        speech: Where anybody speaks: ordered, disjoint.
        means: Each speaker's unit vector, shape (speakers, width).

    Returns:
        Turns by speaker number, ordered by start. Where two speak at once there are two, both marked.
    """
    turns: list[Turn] = []
    likeness = voices.vectors @ means.T
    starts = np.array([window.start for window in voices.windows])
    longest = max((window.seconds for window in voices.windows), default=0.0)
    for stretch in speech:
        first = int(np.searchsorted(starts, stretch.start - longest))
        last = int(np.searchsorted(starts, stretch.end))
        inside = [n for n in range(first, last) if voices.windows[n].end > stretch.start]
        if inside:
            scores = _scores(stretch, [voices.windows[n] for n in inside], likeness[inside])
            both = _frames(stretch, voices.both, len(scores))
            turns += _turns(stretch, scores, both)
    return sorted(turns, key=lambda turn: (turn.start, turn.speaker))


def _scores(stretch: Span, windows: Sequence[Span], likeness: Scores) -> Scores:
    """How much each frame is like each speaker, shape (frames, speakers): windows count by how near their middle is."""
    frames = max(1, round(stretch.seconds / FRAME_S))
    at = stretch.start + (np.arange(frames) + 0.5) * FRAME_S
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    halves = np.array([window.seconds / 2 for window in windows])
    weight = np.maximum(1e-3, 1 - np.abs(at[:, None] - middles) / halves) ** 2
    return np.asarray(weight @ likeness / weight.sum(1, keepdims=True), np.float32)


def _path(scores: Scores) -> NDArray[np.int64]:
    """The best speaker for each frame where every change costs."""
    best = np.zeros(scores.shape, np.int64)
    total = scores[0].astype(np.float64)
    for frame in range(1, len(scores)):
        leader = int(total.argmax())
        changed = total[leader] - SWITCH_COST
        best[frame] = np.where(total >= changed, np.arange(scores.shape[1]), leader)
        total = np.maximum(total, changed) + scores[frame]
    path = np.empty(len(scores), np.int64)
    path[-1] = total.argmax()
    for frame in range(len(scores) - 1, 0, -1):
        path[frame - 1] = best[frame, path[frame]]
    return path


def _frames(stretch: Span, parts: Sequence[Span], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, bool)
    for part in parts:
        if part.end > stretch.start and part.start < stretch.end:
            first = max(0, round((part.start - stretch.start) / FRAME_S))
            found[first : max(first, round((part.end - stretch.start) / FRAME_S))] = True
    return found


def _turns(stretch: Span, scores: Scores, both: NDArray[np.bool_]) -> list[Turn]:
    path = _path(scores)
    others = scores.copy()
    others[np.arange(len(path)), path] = -np.inf
    second = np.where(both & (scores.shape[1] > 1), others.argmax(1), -1)
    return [
        *_runs(stretch, path, both & (second >= 0)),
        *_runs(stretch, second, second >= 0),
    ]


def _runs(stretch: Span, who: NDArray[np.int64], both: NDArray[np.bool_]) -> list[Turn]:
    """One turn for each run of frames with one speaker; -1 is nobody. A run is cut where an overlap begins or ends."""
    key = who * 2 + both
    edges = [0, *(np.flatnonzero(np.diff(key)) + 1).tolist(), len(key)]
    return [
        Turn(
            round(stretch.start + a * FRAME_S, 3),
            round(stretch.end if b == len(key) else stretch.start + b * FRAME_S, 3),
            int(who[a]),
            overlap=bool(both[a]),
        )
        for a, b in pairwise(edges)
        if who[a] >= 0
    ]
