"""How much of the sample a recording gives, and where: by its loudness, every hundredth of a second."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tests.recordings import corpus
from tests.sound import decoded
from transcription.errors import MurmurationError
from transcription.media.audio import RATE
from transcription.media.codecs.probe import probe
from transcription.media.recording import Recording
from transcription.spans import Span

STEP = RATE // 100
ALIKE = 0.85
MOST, SOME = 0.93, 0.3
LIMIT_S = 12 * 3600.0

Levels = NDArray[np.float64]


def share(recording: Recording, place: Callable[[float], float], *, off_s: float = 0.25) -> float:
    """
    How much of the sample's speech stands where it should.

    Args:
        recording: What was decoded.
        place: Where what the sample says at a time should stand.
        off_s: How far it may be off.

    Returns:
        The share of the sample's seconds that are found, in [0, 1].
    """
    found = heard = 0
    for second in np.arange(0, corpus.speech().size / RATE - 1, 0.5):
        wanted = _levels(corpus.speech()[round(second * RATE) : round((second + 1) * RATE)] / 32768.0)
        if wanted.max() < 0.02:
            continue
        heard += 1
        begin = place(second) - off_s
        around = _levels(cut(recording, begin, begin + 1 + 2 * off_s))
        found += _is_in(wanted, around)
    return found / heard


def same(time: float) -> float:
    """Where something stands in a recording that lacks nothing."""
    return time


def codes(recording: Recording) -> set[str]:
    """Of a recording's warnings."""
    return {warning.code.value for warning in recording.warnings}


def cut(recording: Recording, start: float, end: float) -> NDArray[np.float32]:
    """The sound from *start* to *end*, silence where there is none, holes and all."""
    samples = np.zeros(round((end - start) * RATE), np.float32)
    for stretch in recording.holes.placed([Span(0.0, recording.held_s)]):
        first, last = max(start, stretch.start), min(end, stretch.end)
        if last > first:
            part = recording.cut(Span(first, last))
            at = round((first - start) * RATE)
            samples[at : at + part.size] = part[: samples.size - at]
    return samples


def cell(name: str, kind: str) -> str:
    """What the table says of a form and a kind: how much comes out, in its place, and with which warnings."""
    if kind not in corpus.kinds(name):
        return "–"
    parts, codes = [], set()
    try:
        for content, asked in corpus.variants(name, kind):
            recording = recorded(content, **asked)
            parts.append(share(recording, corpus.place(kind), off_s=0.6 if kind == "hole" else 0.25))
            codes |= {f"`{warning.code.value}`" for warning in recording.warnings}
    except MurmurationError as error:
        return f"refused: `{error.code}`"
    part = min(parts)
    much = "all" if part >= MOST else "the rest" if part >= SOME else "nothing in its place"
    return ", ".join([much, *sorted(codes)])


def recorded(content: bytes, **asked: Any) -> Recording:
    """Decode a recording."""
    path = Path(_folder()) / "recording"
    path.write_bytes(content)
    probe(path, max_duration_s=LIMIT_S)
    return decoded(path, limit_s=LIMIT_S, **asked)


@cache
def _folder() -> str:
    return mkdtemp(prefix="recordings-")


def _levels(samples: NDArray[np.floating]) -> Levels:
    whole = samples[: samples.size // STEP * STEP].reshape(-1, STEP)
    return np.sqrt(np.mean(np.square(whole, dtype=np.float64), axis=1))


def _is_in(wanted: Levels, around: Levels) -> bool:
    """Whether a stretch of *around* goes up and down as *wanted* does."""
    stretches = sliding_window_view(around, wanted.size)
    a, b = wanted - wanted.mean(), stretches - stretches.mean(axis=1, keepdims=True)
    power = np.sqrt((a @ a) * np.einsum("ij,ij->i", b, b))
    return bool(np.any((power > 0) & (b @ a > ALIKE * power)))
