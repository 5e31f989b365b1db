"""Recordings that the model was never trained on, made on the fly, with what is said in them and when."""

import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import NORMAL_RATE_WPM, SAMPLE_RATE, Espeak, SpokenWord
from demo.training.lexicon import Language, sentence
from demo.training.synthesise import ENGLISH_VOICES, HELD_OUT_VARIANTS

LEAD_S = 0.3


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence in a recording; times in seconds from its beginning."""

    text: str
    start: float
    end: float
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True)
class Trial:
    """A recording, (n,) float32 at 16 kHz, and its sentences."""

    audio: NDArray[np.float32]
    sentences: tuple[SpokenSentence, ...]
    language: Language


@dataclass(frozen=True)
class TrialKind:
    """How to make trials: `meaningless_share` of the sentences are words in random order."""

    count: int
    duration_s: float = 12
    language: Language = "en"
    held_out_voices: bool = True
    meaningless_share: float = 0.15
    noise: float = 0.0
    first_seed: int = 0


KINDS = {
    "default voice": TrialKind(12, held_out_voices=False, meaningless_share=0, first_seed=100),
    "held-out voices": TrialKind(20, first_seed=200),
    "noisy": TrialKind(8, noise=0.01, first_seed=300),
    "90 s": TrialKind(3, duration_s=90, first_seed=400),
    "German": TrialKind(8, language="de", first_seed=500),
}


def make_trials(speaker: Espeak, kind: TrialKind) -> list[Trial]:
    """Make all trials of a *kind*."""
    return [_make_trial(speaker, kind, random.Random(kind.first_seed + n)) for n in range(kind.count)]


def _make_trial(speaker: Espeak, kind: TrialKind, rng: random.Random) -> Trial:
    parts = [_silence(LEAD_S)]
    sentences: list[SpokenSentence] = []
    position = len(parts[0])
    while position < (kind.duration_s - 2) * SAMPLE_RATE:
        text = sentence(rng, kind.language, kind.meaningless_share)
        voice, rate = "en-us", NORMAL_RATE_WPM
        if kind.held_out_voices:
            base = rng.choice(ENGLISH_VOICES) if kind.language == "en" else kind.language
            voice, rate = f"{base}+{rng.choice(HELD_OUT_VARIANTS)}", rng.randint(140, 200)
        utterance = speaker.say(text, voice, rate_wpm=rate)
        if utterance is None or position + len(utterance.audio) > kind.duration_s * SAMPLE_RATE:
            break
        start = position / SAMPLE_RATE
        sentences.append(
            SpokenSentence(
                text,
                start,
                start + len(utterance.audio) / SAMPLE_RATE,
                tuple(replace(word, start=start + word.start, end=start + word.end) for word in utterance.words),
            )
        )
        pause = _silence(rng.uniform(0.3, 1.4))
        parts += [utterance.audio * np.float32(rng.uniform(0.4, 1)), pause]
        position += len(utterance.audio) + len(pause)
    audio = np.concatenate(parts)
    if kind.noise:
        hiss = np.random.default_rng(kind.first_seed).standard_normal(len(audio)) * kind.noise
        audio = (audio + hiss).astype(np.float32)
    return Trial(audio, tuple(sentences), kind.language)


def _silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)
