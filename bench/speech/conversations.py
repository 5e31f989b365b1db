"""Conversations of espeak-ng voices that the demo's speaker embedder never heard; who says what when is known."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import SAMPLE_RATE, Espeak
from demo.training.speakers.voices import HELD_OUT_VARIANTS, Voice

Kind = Literal["clean", "overlap", "noise"]
KINDS: tuple[Kind, ...] = ("clean", "overlap", "noise")
OVERLAP_SHARE = 0.3
NOISE_DB = (12, 25)


@dataclass(frozen=True, slots=True)
class Said:
    """Something that one speaker said, in seconds."""

    start: float
    end: float
    speaker: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """
    A recording, (n,) float32 at 16 kHz, and what is said in it, ordered by start.

    ``channels``: each speaker alone, shape (speakers, n), in the order of ``names``, without noise.
    """

    name: str
    kind: Kind
    speakers: int
    audio: NDArray[np.float32]
    said: tuple[Said, ...]
    channels: NDArray[np.float32]
    names: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Length."""
        return self.audio.size / SAMPLE_RATE


def converse(speaker: Espeak, seed: int, kind: Kind, speakers: int, *, seconds: float = 75.0) -> Conversation:
    """Make a conversation of *speakers* held-out voices, all of which speak at least twice; the same for a *seed*."""
    rng = random.Random(f"{seed}/{kind}/{speakers}")
    variants = rng.sample(HELD_OUT_VARIANTS, speakers)
    voices = [_english(rng, variant) for variant in variants]
    order, position, said, parts = _turns(rng, speakers), 0.5, [], []
    while position < seconds or len(said) < 2 * speakers:
        who = next(order)
        audio, text = _turn(speaker, voices[who], rng)
        start = position
        if said and kind == "overlap" and rng.random() < OVERLAP_SHARE:
            start = max(said[-1].start + 0.3, said[-1].end - rng.uniform(0.4, 1.5))
        said.append(Said(start, start + audio.size / SAMPLE_RATE, variants[who], text))
        parts.append((who, start, audio * np.float32(10 ** rng.uniform(-0.4, 0))))
        position = max(one.end for one in said[-2:]) + rng.uniform(0.08, 0.7)
    channels = np.zeros((speakers, int((position + 0.5) * SAMPLE_RATE)), np.float32)
    for who, start, part in parts:
        first = round(start * SAMPLE_RATE)
        channels[who, first : first + part.size] += part
    audio = channels.sum(axis=0)
    if kind == "noise":
        level = np.sqrt(np.mean(audio**2)) * 10 ** (-rng.uniform(*NOISE_DB) / 20)
        audio += np.random.default_rng(seed).standard_normal(audio.size).astype(np.float32) * np.float32(level)
    audio /= max(1.0, float(np.abs(audio).max()))
    in_order = tuple(sorted(said, key=lambda one: one.start))
    name = f"{kind}-{speakers}-{seed}"
    return Conversation(name, kind, speakers, audio, in_order, channels, tuple(variants))


def _english(rng: random.Random, variant: str) -> Voice:
    while (voice := Voice.drawn(rng, variant)).language != "en":
        pass
    return voice


def _turns(rng: random.Random, speakers: int) -> Iterator[int]:
    """Who speaks next: everybody twice in the first turns, then whoever; never the same one twice in a row."""
    last = -1
    for _ in range(2):
        everybody = rng.sample(range(speakers), speakers)
        if everybody[0] == last:
            everybody.append(everybody.pop(0))
        yield from everybody
        last = everybody[-1]
    while True:
        last = rng.choice([who for who in range(speakers) if who != last])
        yield last


def _turn(speaker: Espeak, voice: Voice, rng: random.Random) -> tuple[NDArray[np.float32], str]:
    """One to three sentences without a pause that would be another turn's."""
    parts, texts = [], []
    for _ in range(rng.choice((1, 2, 2, 3))):
        text = voice.sentence(rng)
        audio = voice.say(speaker, text, rng)
        if audio is not None:
            parts += [np.zeros(int(0.12 * SAMPLE_RATE), np.float32)] if parts else []
            parts.append(audio)
            texts.append(text)
    if not parts:
        return _turn(speaker, voice, rng)
    return np.concatenate(parts), " ".join(texts)
