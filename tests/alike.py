"""Segments that differ in nothing but their figures' last digits, as those of batches or of memory that differ do."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from transcription.transcript import Segment

ABS = 1e-5


def alike(parts: Iterable[Iterable[Segment]]) -> list[list[Segment]]:
    """What equals *parts* and all that are like them."""
    return [[_alike(segment) for segment in part] for part in parts]


def _alike(segment: Segment) -> Segment:
    words = segment.words and tuple(replace(word, probability=_about(word.probability)) for word in segment.words)
    figures = {"avg_logprob": _about(segment.avg_logprob), "no_speech_prob": _about(segment.no_speech_prob)}
    return replace(segment, words=words, **figures)


def _about(figure: float) -> Any:
    return pytest.approx(figure, abs=ABS)
