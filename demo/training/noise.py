"""Sounds that aren't speech, so that the model learns to say nothing."""

import random

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import SAMPLE_RATE

Audio = NDArray[np.float64]


def make_noise(rng: random.Random) -> NDArray[np.float32]:
    """A tone, chord, buzz, sweep, rumble or burst of 0.1 to 4 s, some of them chopped; shape (n,), 16 kHz."""
    time = np.arange(int(SAMPLE_RATE * rng.uniform(0.1, 4))) / SAMPLE_RATE
    hertz = 10 ** rng.uniform(1.9, 3.6)
    audio = rng.choice((_tone, _chord, _buzz, _sweep, _rumble, _burst))(rng, time, hertz)
    audio = audio / (np.abs(audio).max() + 1e-9) * 10 ** rng.uniform(-2, -0.1)
    if rng.random() < 0.4:
        audio = audio * (np.sin(2 * np.pi * rng.uniform(0.5, 6) * time) > 0)
    return audio.astype(np.float32)


def _tone(_rng: random.Random, time: Audio, hertz: float) -> Audio:
    return np.sin(2 * np.pi * hertz * time)


def _chord(rng: random.Random, time: Audio, hertz: float) -> Audio:
    return _tone(rng, time, hertz) + _tone(rng, time, hertz * rng.uniform(1.1, 2.2))


def _buzz(rng: random.Random, time: Audio, hertz: float) -> Audio:
    return np.sign(_tone(rng, time, hertz / 3)) * 0.5


def _sweep(rng: random.Random, time: Audio, hertz: float) -> Audio:
    return np.sin(2 * np.pi * (hertz * time + rng.uniform(-500, 1500) * time * time))


def _rumble(rng: random.Random, time: Audio, _hertz: float) -> Audio:
    walk = np.cumsum(_hiss(rng, time))
    return walk - np.convolve(walk, np.ones(800) / 800, "same")


def _burst(rng: random.Random, time: Audio, _hertz: float) -> Audio:
    return _hiss(rng, time) * np.exp(-time * rng.uniform(1, 20))


def _hiss(rng: random.Random, time: Audio) -> Audio:
    return np.random.default_rng(rng.randrange(1 << 30)).standard_normal(len(time))
