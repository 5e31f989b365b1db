"""A window on its way through the model: what has been decoded of it, and what that is worth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from transcription.options import Decoding
from transcription.spans import Span
from transcription.transcript import Segment

COMPRESSION_RATIO_LIMIT = 2.4
LOGPROB_LIMIT = -1.0
NO_SPEECH_LIMIT = 0.6
PROMPT_RESET_TEMPERATURE = 0.5
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

FRAMES = 3000
"""Frames of 10 ms that the model was trained to hear at once."""

SHORTEST = 1000
SHORT_STEP = 500
SHORT_MARGIN = 256
"""Frames of silence after what is heard in its own length; without them original weights write nonsense."""

Floats = NDArray[np.floating[Any]]


def own_length(frames: int) -> int:
    """
    Frames to encode a short recording in: its own length, rounded up so that rows find company, and a margin.

    The margin is that of whisper.cpp's pull request 1855, the least length that of what others found safe.
    """
    return min(FRAMES, max(SHORTEST, -(-frames // SHORT_STEP) * SHORT_STEP) + SHORT_MARGIN)


def ladder(temperature: float) -> tuple[float, ...]:
    """The temperatures to try, one after another, until the quality is good."""
    return TEMPERATURES if temperature == 0 else (temperature,)


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    What the model wrote at one temperature, and the figures by which that is judged.

    ``stuck``: it doesn't get the pass any further, and isn't taken.
    """

    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    stuck: bool = False

    @property
    def repetitive(self) -> bool:
        """Text that compresses too well says the same again and again."""
        return self.compression_ratio > COMPRESSION_RATIO_LIMIT

    @property
    def improbable(self) -> bool:
        """The model doesn't believe it itself."""
        return self.avg_logprob < LOGPROB_LIMIT

    @property
    def unreliable(self) -> bool:
        """Improbable or repetitive, be it silence or not."""
        return self.repetitive or self.improbable

    @property
    def silent(self) -> bool:
        """Nobody speaks, and what was written anyway isn't probable enough to say otherwise."""
        return self.no_speech_prob > NO_SPEECH_LIMIT and self.avg_logprob <= LOGPROB_LIMIT

    @property
    def low_confidence(self) -> bool:
        """Not good enough to be taken while another temperature may do better."""
        return self.unreliable and not (self.no_speech_prob > NO_SPEECH_LIMIT and self.improbable)


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt to take: the last one if it is good, else the most probable, of those that don't repeat if any."""
    attempts = [attempt for attempt in attempts if not attempt.stuck] or attempts
    if not attempts[-1].low_confidence:
        return attempts[-1]
    steady = [attempt for attempt in attempts if not attempt.repetitive]
    return max(steady or attempts, key=lambda attempt: attempt.avg_logprob)


class Context:
    """The text that windows get as their prompt: the client's alone, or what was written before them as well."""

    def __init__(self, prompt: Sequence[int], *, grows: bool) -> None:
        self._tokens = list(prompt)
        self._since = 0
        self._grows = grows

    def tokens(self) -> list[int]:
        """What comes before the next window."""
        return self._tokens[self._since :]

    def mark(self) -> tuple[int, int]:
        """Where it stands, for `rewind`."""
        return len(self._tokens), self._since

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what was added since *mark*."""
        del self._tokens[mark[0] :]
        self._since = mark[1]

    def forget(self) -> None:
        """Begin anew: what was written until now is no help for what comes."""
        if self._grows:
            self._since = len(self._tokens)

    def add(self, tokens: Sequence[int]) -> None:
        """Take note of a segment."""
        if self._grows:
            self._tokens += tokens

    def end_pass(self, temperature: float) -> None:
        """Text that needed a high temperature isn't fit to lead the next window."""
        if temperature > PROMPT_RESET_TEMPERATURE:
            self.forget()


@dataclass(slots=True, eq=False)
class Row:
    """
    A window in the batcher.

    The model goes through it in passes: one, unless it leaves off before the window's end. ``features`` is the
    window's log-mel, shape (mels, frames); ``seek`` the frame at which the pass begins; ``encoding`` what the encoder
    made of ``heard`` frames from there on, shape (1, heard / 2, width). ``segments`` and ``skipped``, what was left
    out, have the window's own time.
    """

    features: Floats
    frames: int
    tokenizer: Tokenizer
    decoding: Decoding
    context: Context
    digest: bytes
    seek: int = 0
    size: int = 0
    heard: int = FRAMES
    encoding: Floats | None = None
    prompt: list[int] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    pieces: list[dict[str, Any]] = field(default_factory=list)
    ends_whole: bool = False
    segments: list[Segment] = field(default_factory=list)
    passes: int = 0
    language: str | None = None
    """ISO 639-1, where it was told for this window."""

    timed: bool = True
    """Whether the model writes timestamps; else segments are cut from words."""

    skipped: list[Span] = field(default_factory=list)

    @property
    def temperature(self) -> float:
        """The temperature to decode at next."""
        return ladder(self.decoding.temperature)[len(self.attempts)]

    @property
    def exhausted(self) -> bool:
        """Whether every temperature was tried."""
        return len(self.attempts) == len(ladder(self.decoding.temperature))

    @property
    def settled(self) -> bool:
        """Whether no further temperature is to be tried."""
        return not self.attempts[-1].low_confidence or self.exhausted


@dataclass(slots=True, eq=False)
class LanguageRow:
    """A window whose language is asked for; ``found``: the probability of each by its ISO 639-1 code."""

    features: Floats
    digest: bytes
    heard: int = FRAMES
    handed_on: bool = False
    """Whether who asked goes on with the encoding; else it is remembered for whoever comes with the same sound."""

    encoding: Floats | None = None
    found: dict[str, float] | None = None


@contextmanager
def untouched_on_error(rows: Sequence[Row | LanguageRow]) -> Iterator[None]:
    """Put *rows* back as they were when the block raises: one that fails must not leave the others half done."""
    before = [_state(row) for row in rows]
    marks = [row.context.mark() if isinstance(row, Row) else None for row in rows]
    try:
        yield
    except BaseException:
        for row, state, mark in zip(rows, before, marks, strict=True):
            for name, value in state.items():
                setattr(row, name, value)
            if isinstance(row, Row) and mark:
                row.context.rewind(mark)
        raise


def _state(row: Row | LanguageRow) -> dict[str, Any]:
    values = {one.name: getattr(row, one.name) for one in fields(row)}
    return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
