"""Audio as samples: mono, 16 kHz, the rate at which Whisper hears; nothing here opens a media file."""

import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transcription.errors import BlobMissing
from transcription.spans import Span

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


def write_pcm(path: Path, samples: Samples) -> None:
    """
    Store decoded *samples* as raw 16-bit little-endian PCM at *path*.

    The file appears whole or not at all, and is on the disk when this returns. Nothing is lost: the decoder's
    samples are 16-bit.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with draft.open("wb") as file:
            for start in range(0, samples.size, BLOCK):
                np.rint(samples[start : start + BLOCK] * FULL_SCALE).astype("<i2").tofile(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_pcm(path: Path, span: Span) -> Samples:
    """
    Read the samples of *span* from a file that `write_pcm` wrote; only that part of it.

    Returns:
        The same samples as the same slice of what was written.

    Raises:
        BlobMissing: there is no such file.
    """
    first = sample_at(span.start)
    try:
        with path.open("rb") as file:
            file.seek(2 * first)
            pcm = np.fromfile(file, "<i2", count=max(0, sample_at(span.end) - first))
    except FileNotFoundError:
        raise BlobMissing(f"the decoded audio isn't at {path}") from None
    return pcm.astype(np.float32) / FULL_SCALE


def sample_at(seconds: float) -> int:
    """The sample at *seconds*."""
    return round(seconds * RATE)
