"""NeMo's log-mel spectrogram: what TitaNet and SpeakerNet hear."""

from functools import cache

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from transcription.media.audio import RATE, Samples

FRAME, HOP, FFT, MELS = 400, 160, 512, 80
PREEMPHASIS = 0.97
FLOOR = 2.0**-24
LEAST_DEVIATION = 1e-5

Features = NDArray[np.float32]


def log_mel(samples: Samples) -> Features:
    """
    Log-mel energies of *samples*, each band with mean 0 and deviation 1, as NeMo's preprocessor gives them.

    Args:
        samples: Mono, 16 kHz, shape (n,), full scale is 1.

    Returns:
        Shape (80, frames), float32: the middle of frame t is sample 160 t.
    """
    emphasized = np.concatenate([samples[:1], samples[1:] - np.float32(PREEMPHASIS) * samples[:-1]])
    padded = np.pad(emphasized, FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    spectrum = np.fft.rfft(frames * _window(), FFT)
    power = spectrum.real**2 + spectrum.imag**2
    mels = np.log(_filters() @ power.T + FLOOR)
    deviation = mels.std(1, keepdims=True, ddof=1) if mels.shape[1] > 1 else np.zeros((MELS, 1))
    return np.asarray((mels - mels.mean(1, keepdims=True)) / (deviation + LEAST_DEVIATION), np.float32)


@cache
def _window() -> NDArray[np.float64]:
    side = (FFT - FRAME) // 2
    return np.pad(np.hanning(FRAME), side)


@cache
def _filters() -> NDArray[np.float64]:
    """Slaney's triangles of one area each up to 8 kHz, shape (80, 257)."""
    return np.asarray(FeatureExtractor.get_mel_filters(RATE, FFT, MELS), np.float64)
