"""What the embedder hears in training: a second or two of one voice, or of two at once, in noise and in rooms."""

import numpy as np
import torch
from numpy.typing import NDArray

from demo.training.speakers.features import FRAME, HOP, SAMPLE_RATE

Audio = NDArray[np.float32]


class Crops:
    """Draws crops from a bank that `synthesise` wrote."""

    def __init__(self, path: str, seed: int) -> None:
        bank = np.load(path)
        self._audio, self._bounds = bank["audio"], bank["bounds"]
        self.people = len(self._bounds) - 1
        self._draw = np.random.default_rng(seed)

    def batch(self, size: int, seconds: float, *, mixed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Draw *size* crops of one voice, and *mixed* more in which another one cuts in.

        Returns:
            Audio (size + mixed, n); the people of the first *size*; where two speak, (size + mixed, frames / 2).
        """
        length = int(seconds * SAMPLE_RATE)
        people = self._draw.integers(self.people, size=size + mixed)
        crops = np.stack([self._crop(one, length) for one in people])
        both = np.zeros((size + mixed, (length - FRAME) // HOP + 1), np.float32)
        for n in range(size, size + mixed):
            crops[n], both[n] = self._cut_in(crops[n], int(people[n]))
        for n in range(size + mixed):
            crops[n] = self._distort(crops[n])
        return torch.from_numpy(crops), torch.from_numpy(people[:size]), torch.from_numpy(both[:, ::2].copy())

    def _crop(self, person: int, length: int) -> Audio:
        first, end = self._bounds[person], self._bounds[person + 1]
        at = self._draw.integers(first, end - length)
        return self._audio[at : at + length].astype(np.float32) / 32768

    def _cut_in(self, crop: Audio, person: int) -> tuple[Audio, Audio]:
        other = (person + self._draw.integers(1, self.people)) % self.people
        begin, end = np.sort(self._draw.integers(0, len(crop), 2))
        begin, end = (0, end) if self._draw.random() < 0.3 else (begin, len(crop)) if self._draw.random() < 0.5 else (begin, end)
        second = np.zeros_like(crop)
        second[begin:end] = self._crop(int(other), len(crop))[begin:end] * 10 ** self._draw.uniform(-0.35, 0.35)
        if self._draw.random() < 0.25:  # one after the other isn't both at once
            crop = crop.copy()
            crop[begin:end] = 0
        frames = (len(crop) - FRAME) // HOP + 1
        at = np.arange(frames)[:, None] * HOP + np.arange(0, FRAME, 40)
        return crop + second, ((_loud(crop)[at].mean(1) > 0.3) & (_loud(second)[at].mean(1) > 0.3)).astype(np.float32)

    def _distort(self, crop: Audio) -> Audio:
        draw = self._draw
        if draw.random() < 0.4:
            crop = self._room(crop)
        if draw.random() < 0.6:
            noise = draw.standard_normal(len(crop)).astype(np.float32)
            if draw.random() < 0.5:
                noise = np.convolve(noise, np.ones(8, np.float32) / 3, "same")
            crop = crop + noise * (np.sqrt(np.mean(crop**2)) + 1e-5) * 10 ** (-draw.uniform(5, 40) / 20)
        return (crop * 10 ** draw.uniform(-1.5, 0.2)).astype(np.float32)

    def _room(self, crop: Audio) -> Audio:
        length = int(self._draw.uniform(0.05, 0.35) * SAMPLE_RATE)
        echo = self._draw.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        echo *= self._draw.uniform(0.1, 0.6) / (np.sqrt((echo**2).sum()) + 1e-9)
        echo[0] = 1.0
        size = 1 << (len(crop) + length).bit_length()
        return np.fft.irfft(np.fft.rfft(crop, size) * np.fft.rfft(echo, size), size)[: len(crop)].astype(np.float32)


def _loud(audio: Audio) -> NDArray[np.bool_]:
    """Where *audio* sounds, by its envelope over 20 ms."""
    return np.convolve(np.abs(audio), np.ones(320, np.float32) / 320, "same") > 0.006
