"""Log-mel on the device: what faster-whisper's feature extractor makes of the same samples."""

from collections.abc import Sequence

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor

from transcription.media.audio import Samples

SIZE, HOP, PADDING = 400, 160, 160


class Sound:
    """
    A window's samples until it is its turn to be encoded, and its log-mel from then on.

    To whoever cuts it into passes it is an array of shape (mels, frames).
    """

    def __init__(self, samples: Samples, mels: int) -> None:
        """Keep *samples*: mono, float32, 16 kHz."""
        self.samples = samples
        self.shape = mels, (len(samples) + PADDING) // HOP
        self.mel: Tensor | None = None


class LogMel:
    """faster-whisper's features of many windows at once."""

    def __init__(self, mels: int, device: torch.device) -> None:
        """Lay the filters out on *device*."""
        self.mels, self._device = mels, device
        filters = FeatureExtractor.get_mel_filters(16000, SIZE, n_mels=mels).astype(np.float32)
        self._filters = torch.from_numpy(filters).to(device)
        self._window = torch.hann_window(SIZE, device=device)

    def __call__(self, windows: Sequence[Samples]) -> list[Tensor]:
        """Log-mel of each of *windows*, shape (mels, frames)."""
        padded = [np.pad(samples, (0, PADDING)) for samples in windows]
        padded = [np.pad(samples, SIZE // 2, mode="reflect") for samples in padded]
        frames = [(len(samples) + PADDING) // HOP for samples in windows]
        longest = max(map(len, padded))
        pinned = torch.zeros(len(windows), longest, pin_memory=self._device.type == "cuda")
        for row, samples in enumerate(padded):
            pinned[row, : len(samples)] = torch.from_numpy(samples)
        waves = pinned.to(self._device, non_blocking=True)
        spectrum = torch.stft(waves, SIZE, HOP, window=self._window, center=False, return_complex=True)
        power = spectrum[:, :, : max(frames)].abs() ** 2
        logs = torch.matmul(self._filters, power).clamp_(min=1e-10).log10_()
        made = []
        for row, count in enumerate(frames):
            own = logs[row, :, :count]
            made.append((torch.maximum(own, own.max() - 8.0) + 4.0) / 4.0)
        return made
