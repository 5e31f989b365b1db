"""Speech: where a recording holds any, by the Silero model that comes with faster-whisper."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from faster_whisper.vad import VadOptions, get_vad_model
from numpy.typing import NDArray

from transcription.media.audio import RATE
from transcription.media.recording import HeldSamples
from transcription.spans import Span

FRAME = 512
CONTEXT = 64
BLOCK_FRAMES = 10_000
"""As many as faster-whisper hands to the model at once, about 5 minutes."""

WINDOW_S = 30.0
SHORT_PAUSE_S = 0.098

OPTIONS = VadOptions(min_silence_duration_ms=500)

Probabilities = NDArray[np.float32]


def detect_speech(
    samples: HeldSamples, *, options: VadOptions = OPTIONS, progressed: Callable[[], None] = lambda: None
) -> list[Span]:
    """
    Find the spans of *samples* that hold speech.

    The same spans as `faster_whisper.vad.get_speech_timestamps` finds, in bounded memory.

    Args:
        samples: Mono audio, float32 in [-1, 1], 16 kHz; it is taken a block at a time.
        options: Silero's options; stretches are kept to 30 s each, whatever they say.
        progressed: Called now and then; what it raises ends the search.

    Returns:
        Spans in seconds on whole samples, ordered and disjoint, at most 30 s each: longer speech is split at its last
        short pause. Empty for silence.
    """
    speech = _Stretches(options)
    for frame, probability in enumerate(_probabilities(samples)):
        if frame % BLOCK_FRAMES == 0:
            progressed()
        speech.hear(frame * FRAME, probability)
    return [Span(start / RATE, end / RATE) for start, end in _padded(speech.end(samples.size), samples.size, options)]


def everything(speech: Sequence[Span], duration_s: float) -> list[Span]:
    """
    Cover [0, *duration_s*] without gaps, for whoever wants silence transcribed too.

    Args:
        speech: What `detect_speech` found; cuts are made in its pauses where there are any.

    Returns:
        Ordered stretches, each beginning where the last one ends, of at most 30 s.
    """
    pauses = [(a.end + b.start) / 2 for a, b in pairwise(speech)]
    cuts = [0.0]
    while duration_s - cuts[-1] > WINDOW_S:
        limit = cuts[-1] + WINDOW_S
        cuts.append(max((pause for pause in pauses if cuts[-1] < pause <= limit), default=limit))
    rounded = [round(cut * RATE) / RATE for cut in cuts]
    return [Span(a, b) for a, b in zip(rounded, [*rounded[1:], duration_s], strict=True) if b > a]


def _probabilities(samples: HeldSamples) -> Iterator[float]:
    """For each frame of 512 samples, the probability in [0, 1] that it is speech."""
    session = get_vad_model().session
    h = c = np.zeros((1, 1, 128), np.float32)
    context = np.zeros(CONTEXT, np.float32)
    for start in range(0, samples.size + 1, BLOCK_FRAMES * FRAME):
        block = samples[start : start + BLOCK_FRAMES * FRAME]
        if block.size < BLOCK_FRAMES * FRAME:
            # faster-whisper pads the end, by a whole frame where there is no rest, and blanks its last samples.
            block = np.pad(block, (0, FRAME - block.size % FRAME))
            block[-CONTEXT:] = 0
        frames = block.reshape(-1, FRAME)
        before = np.vstack([context, frames[:-1, -CONTEXT:]])
        context = frames[-1, -CONTEXT:]
        found, h, c = session.run(None, {"input": np.hstack([before, frames]), "h": h, "c": c})
        yield from np.asarray(found).reshape(-1).tolist()


class _Stretches:
    """
    Speech with hysteresis: it begins above one threshold and ends after a long enough silence below another.

    A stretch that reaches the window's length is split at its last short pause, or where it stands if it has none.
    """

    def __init__(self, options: VadOptions) -> None:
        self._threshold = options.threshold
        self._silence_threshold = options.neg_threshold or max(options.threshold - 0.15, 0.01)
        self._least = RATE * options.min_speech_duration_ms / 1000
        self._most = RATE * WINDOW_S - FRAME - 2 * RATE * options.speech_pad_ms / 1000
        self._pause = RATE * options.min_silence_duration_ms / 1000
        self._found: list[tuple[int, int]] = []
        self._start: int | None = None
        self._forget()

    def _forget(self) -> None:
        """Forget where the stretch fell silent, and where it could be split."""
        self._silent_since = self._split_end = self._split_start = 0

    def hear(self, position: int, probability: float) -> None:
        """Take the frame that begins at sample *position*."""
        if probability >= self._threshold:
            if self._silent_since:
                self._silent_since = 0
                if self._split_start < self._split_end:
                    self._split_start = position
            if self._start is None:
                self._start = position
                return
        if self._start is not None and position - self._start > self._most:
            if not self._split_end:
                self._keep(position)
                return
            goes_on = self._split_start if self._split_start >= self._split_end else None
            self._keep(self._split_end)
            self._start = goes_on
        if self._start is not None and probability < self._silence_threshold:
            self._silence(position)

    def _silence(self, position: int) -> None:
        self._silent_since = self._silent_since or position
        if position - self._silent_since > RATE * SHORT_PAUSE_S:
            self._split_end = self._silent_since
        if position - self._silent_since >= self._pause:
            start = self._start
            self._keep(self._silent_since)
            if start is not None and self._found[-1][1] - start <= self._least:
                self._found.pop()

    def _keep(self, end: int) -> None:
        if self._start is not None:
            self._found.append((self._start, end))
        self._start = None
        self._forget()

    def end(self, size: int) -> list[tuple[int, int]]:
        """The stretches, now that *size* samples have been heard."""
        if self._start is not None and size - self._start > self._least:
            self._keep(size)
        return self._found


def _padded(speech: Sequence[tuple[int, int]], size: int, options: VadOptions) -> list[tuple[int, int]]:
    """Widen each stretch on both sides; neighbours that would meet share the silence between them."""
    pad = int(RATE * options.speech_pad_ms / 1000)
    starts = [start for start, _ in speech]
    ends = [end for _, end in speech]
    for index in range(len(speech) - 1):
        silence = starts[index + 1] - ends[index]
        widened = silence // 2 if silence < 2 * pad else pad
        ends[index] += widened
        starts[index + 1] -= widened
    if speech:
        starts[0] = max(0, starts[0] - pad)
        ends[-1] = min(size, ends[-1] + pad)
    return list(zip(starts, ends, strict=True))
