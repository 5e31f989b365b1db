"""Audio as samples: mono, 16 kHz, the rate at which Whisper hears; nothing here opens a media file."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]

RATE = 16_000
FULL_SCALE = np.float32(32768.0)

# The same block as faster-whisper's: the resampler then gives the same samples.
BLOCK = 500_000

MAX_GAIN = 100.0
"""40 dB: what is quieter than that is the noise of 16 bits."""


def normalize(samples: Samples) -> None:
    """
    Make *samples* as loud as they can be, in place: the peak becomes full scale, or is raised by 40 dB.

    The samples stay 16-bit, so that `write_pcm` loses nothing of them. Silence stays silent.
    """
    peak = max(float(samples.max()), -float(samples.min()))
    if not peak:
        return
    gain = min(MAX_GAIN, float(1 - 1 / FULL_SCALE) / peak)
    for start in range(0, samples.size, BLOCK):
        block = samples[start : start + BLOCK]
        block *= np.float32(gain) * FULL_SCALE
        np.rint(block, out=block)
        block /= FULL_SCALE


def sample_at(seconds: float) -> int:
    """The sample at *seconds*."""
    return round(seconds * RATE)
