"""Kaldi's log-mel filter bank in torch, as WeSpeaker's and 3D-Speaker's networks take it."""

from functools import cache

import torch

SAMPLE_RATE = 16000
FRAME, HOP, FFT, MELS = 400, 160, 512, 80
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
INT16 = 32768.0
FLOOR = 1.1920929e-07


def fbank(audio: torch.Tensor) -> torch.Tensor:
    """
    Log-mel energies of *audio*, (batch, n) in [-1, 1] at 16 kHz, less their mean over time.

    Returns:
        (batch, frames, 80); frame t begins at sample 160 t, and none reaches beyond the end.
    """
    frames = (audio * INT16).unfold(1, FRAME, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    frames = (frames - PREEMPHASIS * before) * _povey()
    power = torch.fft.rfft(frames, FFT).abs().square()
    mel = (power[..., : FFT // 2] @ _filters()).clamp(min=FLOOR).log()
    return mel - mel.mean(1, keepdim=True)


@cache
def _povey() -> torch.Tensor:
    return torch.hann_window(FRAME, periodic=False).pow(0.85)


@cache
def _filters() -> torch.Tensor:
    """Triangles on the mel scale, (256, 80)."""

    def mel(hertz: torch.Tensor) -> torch.Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    edges = torch.linspace(*mel(torch.tensor([LOWEST_HZ, SAMPLE_RATE / 2])).tolist(), MELS + 2)
    bins = mel(torch.arange(FFT // 2) * SAMPLE_RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)
