"""Whisper's log-mel spectrogram before its last step, so that utterances can be mixed by adding their power."""

from functools import cache

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from demo.weights import MELS

WINDOW, HOP = 400, 160
FRAMES_PER_S = 100
SILENT_POWER = 1e-10


@cache
def _mel_filters() -> torch.Tensor:
    return torch.from_numpy(FeatureExtractor(feature_size=MELS).mel_filters.astype(np.float32))


def log_mel_power(audio: NDArray[np.float32]) -> NDArray[np.float16]:
    """
    Take the log10 of the mel power of *audio*, shape (n,) at 16 kHz, without Whisper's clamp to the loudest.

    Returns:
        Shape (frames, 80); frame t is centred on sample 160 t. Two or three frames lie after the end.
    """
    padded = torch.nn.functional.pad(torch.from_numpy(audio), (0, WINDOW))
    spectrum = torch.stft(padded, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True, center=True)
    power = _mel_filters() @ (spectrum[:, :-1].abs() ** 2)
    return torch.log10(power.clamp(min=SILENT_POWER)).T.contiguous().half().numpy()
