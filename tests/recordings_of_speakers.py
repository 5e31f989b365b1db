"""The demo's voices in recordings that tests make of its samples: two that are known, and one that isn't."""

import numpy as np

from demo import DIALOGUE, SAMPLES
from tests import audio_files, sound
from transcription.media.audio import Samples
from transcription.spans import Span


def cut(start: float, end: float) -> Samples:
    """A part of the dialogue, in seconds."""
    return sound.decoded(DIALOGUE.path, limit_s=100).cut(Span(start, end))


def samples() -> dict[str, Samples]:
    """What Anna (the dialogue's A) and Bob (its B) say before the conversation."""
    return {"Anna": cut(0.2, 3.6), "Bob": cut(4.2, 7.1)}


def conversation() -> Samples:
    """Anna, Bob and a third voice, none of whom says what is in the samples; the stranger speaks from 13.5 s on."""
    stranger = sound.decoded(SAMPLES["german"].path, limit_s=100).cut(Span(1.6, 8.1))
    return np.concatenate([cut(7.6, 21.1), stranger])


MOMENTS = [0.66, 2.91, 5.37, 7.66, 10.03, 12.18, 14.4, 16.7, 19.0]
"""Seconds in the middle of most of its sentences."""

WHO = ["Anna", "Bob", "Anna", "Anna", "Bob", "Anna", "C", "C", "C"]
"""Who speaks at those moments; C is the stranger."""


def wav(part: Samples) -> bytes:
    """A WAV file."""
    return audio_files.recording(part)
