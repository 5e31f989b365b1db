"""Kaldi's log-mel filter bank: what published speaker-embedding networks hear."""

from enum import Enum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from transcription.media.audio import RATE, Samples

FRAME, HOP, FFT, MELS = 400, 160, 512, 80
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = np.float32(1.1920929e-07)

Features = NDArray[np.float32]


class Window(Enum):
    """By what a frame is multiplied: Kaldi's `--window-type`."""

    POVEY = "povey"
    HAMMING = "hamming"


def fbank(samples: Samples, *, window: Window = Window.POVEY) -> Features:
    """
    Log-mel energies of *samples*, as Kaldi's `compute-fbank-feats --num-mel-bins=80 --dither=0` gives them.

    Args:
        samples: Mono, 16 kHz, shape (n,), as loud as the network was trained on (most: full scale is 32768).
        window: By what frames are multiplied.

    Returns:
        Shape (frames, 80), float32: frame t begins at sample 160 t, none reaches beyond the end.
    """
    if samples.size < FRAME:
        return np.zeros((0, MELS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    frames = frames - frames.mean(1, keepdims=True, dtype=np.float32)
    frames[:, 1:] -= PREEMPHASIS * frames[:, :-1].copy()
    frames[:, 0] *= 1 - PREEMPHASIS
    spectrum = np.fft.rfft(frames * _window(window), FFT)[:, : FFT // 2]
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.log(np.maximum(power.astype(np.float32) @ _filters(), FLOOR)), np.float32)


@cache
def _window(window: Window) -> NDArray[np.float32]:
    shape = np.hamming(FRAME) if window is Window.HAMMING else np.hanning(FRAME) ** 0.85
    return shape.astype(np.float32)


@cache
def _filters() -> NDArray[np.float32]:
    """Triangles, equally wide on the mel scale, shape (256, 80)."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(RATE / 2), MELS + 2)
    bins = _mel(np.arange(FFT // 2) * RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def _mel(hertz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)
