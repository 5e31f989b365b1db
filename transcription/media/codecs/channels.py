"""Channels: how many become one, so that none of them vanishes; or which of them is taken alone."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from transcription.media.audio import BLOCK, RATE, Pcm
from transcription.media.codecs.sameness import Sameness

CANCELLED = 0.05
"""Share of the power that a sum of unrelated channels has, below which they cancel each other."""

CANCELLED_LAYOUT = 0.001
"""The same for a layout with weights: share of the loudest channel's power that the mix still has."""

ABSENT = 0.00001
"""Share of the loudest channel's power below which a film's others are open inputs, and its subwoofer a microphone."""

STRIDE = 7
"""Every so many samples are enough to tell how loud a channel is."""

PLANES = 8
"""Planes of a frame from which on PyAV reads beyond the last one, and the process dies; they are interleaved first."""

_FULL = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}

Floats = NDArray[np.float32]


class Run:
    """
    Sound without gaps in one shape, on its way to s16 mono at 16 kHz.

    Args:
        frame: Its first frame.
        channel: The channel to take, from 1 on; None: all of them, as one. A run that hasn't so many is silence.
        sameness: Is to hear the channels where one is taken.
    """

    def __init__(self, frame: AudioFrame, *, channel: int | None = None, sameness: Sameness | None = None) -> None:
        self.shape = shape_of(frame)
        self._time_base = Fraction(1, frame.sample_rate)  # each container has its own, and a FIFO takes only one
        self._channel = channel
        self._sameness = sameness
        self.cancelled = 0
        self._fifo = AudioFifo()
        self._resampler: AudioResampler | None = None
        self._alone: int | None = None

    def feed(self, frame: AudioFrame) -> Iterator[Pcm]:
        """Take a frame of the run's shape, and give what is ready."""
        frame.pts, frame.time_base = None, self._time_base
        self._fifo.write(frame)
        if self._fifo.samples >= BLOCK:
            yield from self._block(self._fifo.read())

    def end(self) -> Iterator[Pcm]:
        """Give the rest."""
        if self._fifo.samples:
            yield from self._block(self._fifo.read())
        yield from self._flushed()

    def _block(self, block: AudioFrame | None) -> Iterator[Pcm]:
        if block is None:
            return
        block = _interleaved(block)
        if self._channel is not None:
            yield from self._resampled(self._one(block, self._channel))
            return
        alone = self._channel_alone(block)
        if alone != self._alone:
            yield from self._flushed()
            self._alone = alone
        if alone is not None:
            self.cancelled += block.samples
            block = _mono(_floats(block)[alone], block)
        elif _unordered(block) or self._unmixable(block):
            block = _mono(_floats(block).mean(axis=0), block)
        yield from self._resampled(block)

    def _one(self, block: AudioFrame, channel: int) -> AudioFrame:
        sound = _floats(block)
        if self._sameness is not None:
            self._sameness.hear(sound)
        return _mono(sound[channel - 1] if channel <= len(sound) else np.zeros_like(sound[0]), block)

    def _channel_alone(self, block: AudioFrame) -> int | None:
        """The loudest channel where all of them together are next to nothing, else None."""
        count = block.layout.nb_channels
        if count < 2:
            return None
        sound = _floats(block, stride=STRIDE)
        power = np.mean(np.square(sound), axis=1)
        if not np.all(np.isfinite(power)) or not power.any():
            return None
        loudest = int(np.argmax(power))
        if count == 2 or _unordered(block):
            mixed = float(np.mean(np.square(sound.sum(axis=0))))
            return loudest if mixed < CANCELLED * float(power.sum()) else None
        return self._alone_in_layout(block, power)

    def _alone_in_layout(self, block: AudioFrame, power: Floats) -> int | None:
        """The same where the layout gives the channels weights: what the resampler itself would make of them."""
        named = list(zip(block.layout.channels, map(float, power), strict=True))
        heard = [0.0 if channel.name.startswith("LFE") else p for channel, p in named]
        if max(heard) < ABSENT * float(power.max()):
            # A microphone in the place of a film's subwoofer, which no mix has.
            heard = [p for _, p in named]
        loudest = int(np.argmax(heard))
        try:
            mixer = AudioResampler(format="flt", layout="mono", rate=block.sample_rate)
            mixed = np.concatenate([frame.to_ndarray().reshape(-1)[::STRIDE] for frame in mixer.resample(block)])
        except (av.FFmpegError, ValueError):
            return None
        quiet = float(np.mean(np.square(mixed))) < CANCELLED_LAYOUT * heard[loudest]
        return loudest if quiet and heard[loudest] > 0 else None

    def _unmixable(self, block: AudioFrame) -> bool:
        """Whether the resampler knows no way from the layout to mono."""
        if block.layout.nb_channels <= 2 or self._resampler is not None:
            return False
        try:
            sample = np.ascontiguousarray(_floats(block)[:, :1]).reshape(1, -1)
            tried = av.AudioFrame.from_ndarray(sample, format="flt", layout=block.layout.name)
            tried.sample_rate = block.sample_rate
            _resampler().resample(tried)
        except (av.FFmpegError, ValueError):
            return True
        return False

    def _resampled(self, block: AudioFrame | None) -> Iterator[Pcm]:
        self._resampler = self._resampler or _resampler()
        for frame in self._resampler.resample(block):
            yield frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)

    def _flushed(self) -> Iterator[Pcm]:
        if self._resampler is not None:
            yield from self._resampled(None)
            self._resampler = None


def shape_of(frame: AudioFrame) -> tuple[Any, ...]:
    """What frames of a run have in common."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=RATE)


def _unordered(block: AudioFrame) -> bool:
    """Whether nobody knows what the channels are: «3 channels». Two are stereo, whatever they are called."""
    return block.layout.nb_channels > 2 and block.layout.name.endswith(" channels")


def _interleaved(block: AudioFrame) -> AudioFrame:
    if not block.format.is_planar or block.layout.nb_channels < PLANES:
        return block
    packer = AudioResampler(format=block.format.packed.name, layout=block.layout, rate=block.sample_rate)
    (packed,) = packer.resample(block)
    packed.pts = None
    return packed


def _floats(block: AudioFrame, *, stride: int = 1) -> Floats:
    """The channels of *block* in [-1, 1], shape (channels, samples)."""
    raw: NDArray[Any] = block.to_ndarray()
    count = block.layout.nb_channels
    raw = raw if block.format.is_planar else raw.reshape(-1, count).T
    raw = raw[:, ::stride]
    full = _FULL.get(block.format.packed.name)
    if full is None:
        return raw.astype(np.float32)
    sound = raw.astype(np.float32)
    if block.format.packed.name == "u8":
        sound -= np.float32(128)
    return sound / np.float32(full)


def _mono(sound: Floats, block: AudioFrame) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32).reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = block.sample_rate
    return frame
