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


def gain_of(peak: float) -> float:
    """What makes sound of this *peak* as loud as it can be: full scale, or 40 dB more. Silence stays silent."""
    return min(MAX_GAIN, float(1 - 1 / FULL_SCALE) / peak) if peak else 1.0


def sample_at(seconds: float) -> int:
    """The sample at *seconds*."""
    return round(seconds * RATE)
