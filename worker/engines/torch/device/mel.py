"""Log-mel on the device: what faster-whisper's feature extractor makes of the same samples."""

from collections.abc import Sequence

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor
from torch.nn import functional

from transcription.media.audio import Samples
from worker.engines.row import FRAMES
from worker.engines.torch.device.captured import Captured, fitting, pinned

SIZE, HOP, PADDING = 400, 160, 160
LENGTH = FRAMES * HOP + SIZE
"""Samples that 3001 frames are made of: all windows have as many, so that all are one transform."""

ROWS = (1, 2, 4, 8)


class Sound:
    """
    A window's samples until it is its turn to be encoded, and its log-mel from then on.

    To whoever cuts it into passes it is an array of shape (mels, frames), the last of which nobody hears.
    """

    def __init__(self, samples: Samples, mels: int) -> None:
        """Pad *samples*: mono, float32, 16 kHz; what is beyond 30 s isn't heard."""
        samples = samples[: FRAMES * HOP]
        self.shape = mels, (len(samples) + PADDING) // HOP
        self.padded: Samples | None = np.pad(np.pad(samples, (0, PADDING)), SIZE // 2, mode="reflect")[:LENGTH]
        self.mel: Tensor | None = None
        """Shape (mels, 3000), zero from the last frame on."""

    def take(self, mel: Tensor) -> None:
        """Keep *mel* in place of the samples."""
        self.mel, self.padded = mel, None

    def mel_from(self, start: int) -> Tensor:
        """The log-mel from a frame on, shape (mels, 3000)."""
        assert self.mel is not None  # noqa: S101
        return functional.pad(self.mel[:, start:], (0, start)) if start else self.mel


class LogMel:
    """faster-whisper's features of many windows at once."""

    def __init__(self, mels: int, device: torch.device) -> None:
        """Lay the filters out on *device*."""
        self._device = device
        filters = FeatureExtractor.get_mel_filters(16000, SIZE, n_mels=mels).astype(np.float32)
        self._filters = torch.from_numpy(filters).to(device)
        self._window = torch.hann_window(SIZE, device=device)
        self._frame = torch.arange(FRAMES + 1, device=device)
        self._features = Captured(self._computed, device)

    def __call__(self, sounds: Sequence[Sound]) -> None:
        """Give each of *sounds*, 8 at most, its log-mel."""
        count = fitting(ROWS, len(sounds))
        waves = torch.empty(count, LENGTH, pin_memory=self._device.type == "cuda")
        for wave, sound in zip(waves.numpy(), sounds, strict=False):
            assert sound.padded is not None  # noqa: S101
            wave[: len(sound.padded)] = sound.padded  # what is after it is in no frame that counts
        counts = [sound.shape[1] for sound in sounds] + [0] * (count - len(sounds))
        frames = pinned(counts, torch.int64, device=self._device)
        (mels,) = self._features(waves, frames)
        for sound, mel in zip(sounds, mels.clone().unbind(), strict=False):
            sound.take(mel)

    def _computed(self, waves: Tensor, frames: Tensor) -> list[Tensor]:
        spectrum = torch.stft(waves, SIZE, HOP, window=self._window, center=False, return_complex=True)
        logs = torch.matmul(self._filters, spectrum.abs() ** 2).clamp(min=1e-10).log10()
        frame, frames = self._frame, frames[:, None]
        loudest = logs.masked_fill((frame >= frames)[:, None], -torch.inf).amax((1, 2), keepdim=True)
        mels = (torch.maximum(logs, loudest - 8.0) + 4.0) / 4.0
        return [mels.masked_fill((frame >= frames - 1)[:, None], 0.0)[:, :, :FRAMES]]
