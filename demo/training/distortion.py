"""From mel power to what Whisper sees, by way of noise, a channel, and the two ways in which engines pad."""

import random

import numpy as np
from numpy.typing import NDArray

from demo.training.features import SILENT_POWER
from demo.training.scene import Scene
from demo.weights import MELS

DYNAMIC_RANGE = 8
"""Whisper's clamp: log10 power below the loudest."""


def distort(scene: Scene, rng: random.Random) -> NDArray[np.float32]:
    """Return the log-mel window of *scene*, (frames, 80), normalised as Whisper does."""
    draw = np.random.default_rng(rng.randrange(1 << 60))
    power = scene.power.copy()
    if rng.random() < 0.55:
        power += _stationary_noise(power, rng, draw)
    power[scene.stop :] = SILENT_POWER
    mel = np.log10(np.maximum(power, SILENT_POWER))
    if rng.random() < 0.5:
        mel[: scene.stop] += _curve(draw, 0.22)
    loudest = mel.max() + (abs(rng.gauss(0, 0.25)) if rng.random() < 0.4 else 0)
    mel = (np.maximum(mel, loudest - DYNAMIC_RANGE) + 4) / 4
    if rng.random() < 0.5:
        # faster-whisper pads features with 0.0; mlx-whisper pads the audio.
        mel[scene.stop :] = 0.0
    if rng.random() < 0.3:
        band = rng.randrange(70)
        mel[:, band : band + rng.randint(1, 10)] = mel.min()
    return np.asarray(mel, np.float32)


def _stationary_noise(power: NDArray[np.float32], rng: random.Random, draw: np.random.Generator) -> NDArray[np.float32]:
    level = np.log10(max(float(power.max()), 1e-4)) + rng.uniform(-8, -2.2)
    tilt = np.linspace(0, rng.uniform(-2, 1), MELS) + _curve(draw, 0.3)
    # The power of one bin of a stationary noise has a gamma distribution.
    return (10 ** (level + tilt) * draw.gamma(1.5, 1 / 1.5, power.shape)).astype(np.float32)


def _curve(draw: np.random.Generator, spread: float) -> NDArray[np.float64]:
    """A smooth random curve over the mel bands, (80,)."""
    return np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 6), draw.normal(0, spread, 6))
