"""Recordings to measure with: the demo's sentences in new orders, so that every clip differs and its text is known."""

import random
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import demo
from transcription.media.audio import RATE, Samples
from transcription.media.codecs.decode import decode

PAUSE_S = 0.6


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording on disk and what is said in it."""

    path: Path
    text: str
    seconds: float


def sentences() -> list[tuple[Samples, str]]:
    """The demo's English sentences, each with a little silence on both sides."""
    found = []
    for name in ("short", "long", "mp3", "video"):
        sample = demo.SAMPLES[name]
        samples = decode(sample.path, limit_s=1e4)
        for segment in sample.segments:
            a, b = int((segment.start - 0.05) * RATE), int((segment.end + 0.1) * RATE)
            found.append((samples[max(a, 0) : b], segment.text.strip()))
    return found


def clips(directory: Path, count: int, seconds: float, *, seed: int) -> list[Clip]:
    """
    Write *count* clips of about *seconds* into *directory*.

    Returns:
        The clips; the same seed gives the same ones.
    """
    dice, spoken = random.Random(seed), sentences()
    directory.mkdir(parents=True, exist_ok=True)
    return [_clip(directory / f"{seed}-{seconds:.0f}s-{number}.wav", seconds, dice, spoken) for number in range(count)]


def _clip(path: Path, seconds: float, dice: random.Random, spoken: list[tuple[Samples, str]]) -> Clip:
    parts, texts, size = [], [], 0
    pause = np.zeros(int(PAUSE_S * RATE), np.float32)
    while True:
        samples, text = dice.choice(spoken)
        if size and size + samples.size > seconds * RATE:
            break
        parts += [samples, pause]
        texts.append(text)
        size += samples.size + pause.size
    audio = np.concatenate(parts)
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return Clip(path, " ".join(texts), audio.size / RATE)


def word_errors(wanted: str, got: str) -> tuple[int, int]:
    """Word errors (substitutions, insertions, deletions) of *got*, and words in *wanted*."""
    a, b = _words(wanted), _words(got)
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return row[-1], len(a)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c in "' " else " " for c in text.lower()).split()
