"""Decoding: any recording as mono samples at 16 kHz, the rate at which Whisper hears."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from transcription.errors import BlobMissing, CorruptAudio, NoAudioStream, NoSamples, TooLong, UnsupportedMedia
from transcription.media.audio import BLOCK, FULL_SCALE, RATE, Pcm, Samples
from transcription.media.codecs.probe import OPEN_OPTIONS

READ_BYTES = 1 << 18


def decode(path: Path, *, limit_s: float) -> Samples:
    """
    Decode the first audio stream of the file at *path*.

    A stream that is cut off or damaged gives what can be decoded of it.

    Args:
        path: A local file in any container that holds sound. Its content decides, not its name.
        limit_s: Longest recording to take, in seconds; decoding stops as soon as it is exceeded.

    Returns:
        Mono audio, shape (n,), float32 in [-1, 1], 16 kHz, n > 0; the same samples as `faster_whisper.decode_audio`.
        The peak of memory is one and a half times that array.

    Raises:
        BlobMissing: there is no such file.
        UnsupportedMedia: no container that is taken here.
        NoAudioStream: a container without sound.
        CorruptAudio: nothing could be decoded.
        NoSamples: the stream is sound, but empty.
        TooLong: more than *limit_s*.
    """
    blocks = list(pcm_blocks(path, limit_s=limit_s))
    samples = np.empty(sum(block.size for block in blocks), np.float32)
    end = samples.size
    while blocks:  # from the end, so that what is copied is freed at once
        block = blocks.pop()
        np.divide(block, FULL_SCALE, out=samples[end - block.size : end], dtype=np.float32)
        end -= block.size
    return samples


def pcm_blocks(source: Path | int, *, limit_s: float) -> Iterator[Pcm]:
    """Decode like `decode`, a path or a descriptor, in blocks of int16: nothing need be whole in memory."""
    with _open(source) as container:
        if not container.streams.audio:
            raise NoAudioStream("the file has no audio stream, only video or data")
        stream = _Source(container)
        given = 0
        for frame in stream.resampled(limit_s):
            block: Pcm = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            given += block.size
            if given > limit_s * RATE:
                raise _too_long(limit_s)
            yield block
    if not given:
        if stream.damage or stream.claims_sound:
            raise CorruptAudio(f"no sound could be decoded: {stream.damage or 'the stream holds no frame'}")
        raise NoSamples("the audio stream holds no samples")


def decode_into(source: int, target: int, *, limit_s: float) -> None:
    """Decode one descriptor into the other, as 16-bit PCM: what a sandbox calls."""
    for block in pcm_blocks(source, limit_s=limit_s):
        rest = memoryview(block.tobytes())
        while rest:
            rest = rest[os.write(target, rest) :]


@contextmanager
def _open(source: Path | int) -> Iterator[InputContainer]:
    # Opened by descriptor, the file has no name for FFmpeg to guess by, and no protocol to reach other files with.
    try:
        descriptor = source if isinstance(source, int) else os.open(source, os.O_RDONLY)
    except FileNotFoundError:
        raise BlobMissing(f"the audio isn't at {source}") from None
    with os.fdopen(descriptor, "rb") as file:
        try:
            container = av.open(
                file, mode="r", metadata_errors="ignore", buffer_size=READ_BYTES, container_options=dict(OPEN_OPTIONS)
            )
        except (av.FFmpegError, ValueError) as error:
            reason = _describe(error)
            raise UnsupportedMedia(f"the file is no audio or video that can be read here: {reason}") from None
        with container:
            yield container


class _Source:
    """The frames of a container's first audio stream; ``damage`` is the last thing that was wrong with it."""

    def __init__(self, container: InputContainer) -> None:
        self.damage: str | None = None
        self.claims_sound = bool(container.streams.audio[0].duration)
        self._container = container

    def resampled(self, limit_s: float) -> Iterator[AudioFrame]:
        """Yield frames of s16 mono at 16 kHz. TooLong is raised before a block too long is even resampled."""
        heard = 0.0
        for block, resampler in self._blocks():
            if block is not None:
                heard += block.samples / block.sample_rate
                if heard > limit_s + 1:
                    raise _too_long(limit_s)
            yield from resampler.resample(block)

    def _blocks(self) -> Iterator[tuple[AudioFrame | None, AudioResampler]]:
        """Group frames into blocks; a stream that changes its rate or layout on the way gets a new resampler."""
        fifo, resampler, shape = AudioFifo(), _resampler(), None
        for frame in self._frames():
            changed = (frame.format.name, frame.layout.name, frame.sample_rate)
            if shape not in (None, changed):
                yield from _flushed(fifo, resampler)
                fifo, resampler = AudioFifo(), _resampler()
            shape = changed
            frame.pts = None
            fifo.write(frame)
            if fifo.samples >= BLOCK:
                yield fifo.read(), resampler
        if shape is not None:
            yield from _flushed(fifo, resampler)

    def _frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(audio=0)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:  # the container breaks off here
                self.damage = _describe(error)
                packet = None
            if packet is None:
                return
            try:
                yield from (frame for frame in packet.decode() if isinstance(frame, AudioFrame) and frame.sample_rate)
            except av.FFmpegError as error:  # one bad packet; the next may be good
                self.damage = _describe(error)


def _flushed(fifo: AudioFifo, resampler: AudioResampler) -> Iterator[tuple[AudioFrame | None, AudioResampler]]:
    if fifo.samples:
        yield fifo.read(), resampler
    yield None, resampler


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=RATE)


def _too_long(limit_s: float) -> TooLong:
    return TooLong(f"the recording is longer than {limit_s:g} s, the limit (MURMUR_LIMITS__MAX_DURATION_S)")


def _describe(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
