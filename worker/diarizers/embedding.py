"""The diarizer of this house: Silero's speech, a speaker-embedding network in ONNX, clustering, resegmentation."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from faster_whisper.vad import VadOptions
from numpy.typing import NDArray

from transcription.errors import ModelUnavailable
from transcription.media.audio import RATE, sample_at
from transcription.media.recording import Sound
from transcription.spans import Span
from transcription.speakers import Diarized
from worker.diarizers.base import Voices
from worker.diarizers.clustering import Speakers, Vectors, centroids, cluster
from worker.diarizers.networks.fbank import FRAME, HOP
from worker.diarizers.networks.network import SpeakerNetwork
from worker.diarizers.turns import resegment

SPEECH = VadOptions(min_silence_duration_ms=150, min_speech_duration_ms=100, speech_pad_ms=30)
"""Finer than what is transcribed: pauses between turns are short."""

WINDOW_S, STEP_S = 1.5, 0.5
LEAST_WINDOW_S = 0.3
BATCH = 32
FRAME_STEP = 2 * HOP
"""Samples between two frames of a network's second output."""

BOTH_LOGIT = 0.0
BOTH_LEAST_S = 0.2
MOST_BOTH = 0.05
"""A window in which two speak at once for more of its time says nothing of either's voice."""

THRESHOLD = 0.55
"""Cosine distance up to which two clusters are one speaker, where neither the settings nor the network say another."""

RECOGNIZED = 0.7
"""Of that distance, up to which a speaker is the one of a sample: both are means of many windows, and nearer."""


class EmbeddingDiarizer:
    """
    Tells speakers apart by their voices.

    Its network is one as WeSpeaker, 3D-Speaker and NeMo publish them in ONNX: see `inputs`. The metadata that
    sherpa-onnx writes into them is heeded. An output `overlap`, where there is one, is the logit of two speaking at
    once, frame by frame.
    """

    def __init__(self, path: Path, *, name: str = "", threshold: float | None = None) -> None:
        """
        Load the network at *path*.

        Raises:
            ModelUnavailable: it isn't a network of that form.
        """
        content = _content(path)
        self._embed = SpeakerNetwork(content, named=str(path))
        self._threshold = threshold or self._embed.threshold or THRESHOLD
        self.name = _named(content, name or path.stem)

    def hear(self, speech: Sequence[Span], sound: Sound, *, check: Callable[[], None] = lambda: None) -> Voices:
        """The voices in stretches of *speech*: see Diarizer."""
        windows = [window for stretch in speech for window in _windows(stretch)]
        vectors: list[Vectors] = []
        both: list[Span] = []
        for batch in _alike([window.heard for window in windows]):
            check()
            found, logits = self._embed([sound.cut(window.heard) for window in windows[batch]])
            vectors.append(found)
            for window, row in zip(windows[batch], logits if logits is not None else (), strict=logits is not None):
                both += _both(window, row)
        if not vectors:
            return Voices((), np.zeros((0, 0), np.float32))
        return Voices(tuple(window.heard for window in windows), np.concatenate(vectors), tuple(_united(both)))

    def diarize(self, voices: Voices, speech: Sequence[Span], speakers: Speakers) -> Diarized:
        """Who spoke when: see Diarizer."""
        if not voices.windows:
            return Diarized()
        weights = np.array([min(window.seconds, STEP_S) for window in voices.windows], np.float32)
        # Where two speak at once there is nobody's voice: it would make a speaker who isn't there.
        alone = _both_shares(voices) <= MOST_BOTH
        if not alone.any():
            alone[:] = True
        vectors, weights = voices.vectors[alone], weights[alone]
        labels = cluster(vectors, weights, speakers, threshold=self._threshold)
        means = centroids(vectors, weights, labels)
        turns = resegment(voices, speech, means)
        return Diarized(tuple(turns), tuple(map(tuple, means.tolist())), RECOGNIZED * self._threshold)


def name_of(path: Path, called: str) -> str:
    """The name of the diarizer whose network is at *path*: another network has another one. ModelUnavailable."""
    return _named(_content(path), called)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(
            f"the speaker network {path} can't be read: {error} (MURMUR_WORKER__DIARIZER)"
        ) from error


def _named(network: bytes, called: str) -> str:
    return f"{called}@{hashlib.sha256(network).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class _Window:
    """What the network hears at once, and the part of it of which no other window's middle is nearer."""

    heard: Span
    own: Span


def _windows(stretch: Span) -> list[_Window]:
    """Windows that overlap and cover a stretch; one where it is short, none where it is too short to tell a voice."""
    if stretch.seconds < LEAST_WINDOW_S:
        return []
    if stretch.seconds <= WINDOW_S:
        return [_Window(stretch, stretch)]
    count = max(2, round((stretch.seconds - WINDOW_S) / STEP_S) + 1)
    starts = np.linspace(stretch.start, stretch.end - WINDOW_S, count).tolist()
    between = [(a + b + WINDOW_S) / 2 for a, b in pairwise(starts)]
    edges = [stretch.start, *between, stretch.end]
    return [
        _Window(Span(start, start + WINDOW_S), Span(*own)) for start, own in zip(starts, pairwise(edges), strict=True)
    ]


def _alike(windows: Sequence[Span]) -> Iterator[slice]:
    """Runs of windows of one length, which can be computed together."""
    first = 0
    for at in range(1, len(windows) + 1):
        ends = at == len(windows) or at - first == BATCH
        if ends or sample_at(windows[at].seconds) != sample_at(windows[first].seconds):
            yield slice(first, at)
            first = at


def _both(window: _Window, logits: Vectors) -> Iterator[Span]:
    """The frames of a window's own part in which two speak at once."""
    for frame in np.flatnonzero(logits > BOTH_LOGIT).tolist():
        middle = window.heard.start + (frame * FRAME_STEP + FRAME / 2) / RATE
        if window.own.start <= middle < window.own.end:
            half = FRAME_STEP / 2 / RATE
            yield Span(middle - half, middle + half)


def _both_shares(voices: Voices) -> NDArray[np.float32]:
    """The share of each window in which two speak at once, shape (windows,)."""
    starts = np.array([both.start for both in voices.both])
    ends = np.array([both.end for both in voices.both])
    shares = np.zeros(len(voices.windows), np.float32)
    for number, window in enumerate(voices.windows):
        inside = slice(int(np.searchsorted(ends, window.start)), int(np.searchsorted(starts, window.end)))
        shared = np.minimum(ends[inside], window.end) - np.maximum(starts[inside], window.start)
        shares[number] = shared.sum() / window.seconds
    return shares


def _united(parts: Sequence[Span]) -> list[Span]:
    """The parts without overlaps and without what is too short."""
    united: list[Span] = []
    for part in sorted(parts):
        if united and part.start <= united[-1].end + 0.05:
            united[-1] = Span(united[-1].start, max(part.end, united[-1].end))
        else:
            united.append(part)
    return [part for part in united if part.seconds >= BOTH_LEAST_S]
