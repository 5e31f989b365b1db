"""Recording: decoded sound with its gaps, in memory or in a file."""

import os
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from transcription.encryption.files import PLAIN, FileEncryption
from transcription.errors import BlobMissing
from transcription.media.audio import BLOCK, FULL_SCALE, RATE, Samples, sample_at
from transcription.media.timeline import Hole, Holes
from transcription.result_warning import ResultWarning
from transcription.spans import Span
from transcription.tracks import Track

_MARK = b"murmpcm2"
_COUNT = struct.Struct("<q8s")
_HOLE = struct.Struct("<qq")


class Sound(Protocol):
    """What stretches of a recording can be taken from."""

    @property
    def holes(self) -> Holes:
        """Where more silence belongs than is held."""

    def cut(self, stretch: Span) -> Samples:
        """The samples of a stretch, in the recording's seconds, that holds no hole. BlobMissing."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """
    What was decoded of a file.

    ``samples`` are mono, shape (n,), float32 in [-1, 1], 16 kHz; ``holes`` says where more silence belongs between
    them. ``tracks`` are the file's, the one that was taken among them.
    """

    samples: Samples
    holes: Holes = field(default_factory=Holes)
    warnings: tuple[ResultWarning, ...] = ()
    tracks: tuple[Track, ...] = ()

    @property
    def duration_s(self) -> float:
        """The timeline's length."""
        return (self.samples.size + self.holes.samples) / RATE

    @property
    def held_s(self) -> float:
        """How much sound is held."""
        return self.samples.size / RATE

    def cut(self, stretch: Span) -> Samples:
        """The samples of a stretch that holds no hole."""
        return self.samples[self.holes.held_at(sample_at(stretch.start)) : self.holes.held_at(sample_at(stretch.end))]

    def until(self, seconds: float) -> "Recording":
        """A copy of the beginning, so that the rest can be freed."""
        end = self.holes.held_at(sample_at(seconds))
        return Recording(self.samples[:end].copy(), Holes(hole for hole in self.holes.all if hole.at <= end))


class StoredRecording:
    """A recording that `write_pcm` wrote; only what is asked for is read. BlobMissing: there is none at *path*."""

    def __init__(self, path: Path, encryption: FileEncryption = PLAIN) -> None:
        self._path = path
        self._encryption = encryption
        try:
            with encryption.open(path) as file:
                self.holes = _holes_in(file)
        except FileNotFoundError:
            raise BlobMissing("the decoded audio isn't on this host's disk any more") from None

    def cut(self, stretch: Span) -> Samples:
        """The samples of a stretch that holds no hole. BlobMissing."""
        first = self.holes.held_at(sample_at(stretch.start))
        count = self.holes.held_at(sample_at(stretch.end)) - first
        try:
            with self._encryption.open(self._path) as file:
                end = _samples_in(file)
                file.seek(2 * first)
                pcm = np.frombuffer(file.read(2 * max(0, min(count, end - first))), "<i2")
        except FileNotFoundError:
            raise BlobMissing("the decoded audio isn't on this host's disk any more") from None
        return pcm.astype(np.float32) / FULL_SCALE


def write_pcm(path: Path, samples: Samples, holes: Holes | None = None, *, encryption: FileEncryption = PLAIN) -> None:
    """
    Store decoded *samples* as raw 16-bit little-endian PCM at *path*, and behind them where the holes are; encrypted,
    where *encryption* has it so.

    The file appears whole or not at all, and is on the disk when this returns. Nothing is lost: the decoder's
    samples are 16-bit.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with encryption.create(draft) as file:
            for start in range(0, samples.size, BLOCK):
                file.write(np.rint(samples[start : start + BLOCK] * FULL_SCALE).astype("<i2").tobytes())
            if every := holes.all if holes else ():
                file.write(b"".join(_HOLE.pack(hole.at, hole.samples) for hole in every))
                file.write(_COUNT.pack(len(every), _MARK))
            file.sync()
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_pcm(path: Path, span: Span) -> Samples:
    """The samples of *span* from a file that `write_pcm` wrote; only that part of it. BlobMissing."""
    return StoredRecording(path).cut(span)


def _count_in(file: BinaryIO) -> tuple[int, int]:
    """How many holes are told of at the file's end, and how many bytes that takes; none where there are none."""
    size = file.seek(0, os.SEEK_END)
    if size >= _COUNT.size:
        file.seek(size - _COUNT.size)
        count, mark = _COUNT.unpack(file.read(_COUNT.size))
        if mark == _MARK:
            return count, _COUNT.size + count * _HOLE.size
    return 0, 0


def _holes_in(file: BinaryIO) -> Holes:
    count, taken = _count_in(file)
    file.seek(file.seek(0, os.SEEK_END) - taken)
    return Holes(Hole(*_HOLE.unpack(file.read(_HOLE.size))) for _ in range(count))


def _samples_in(file: BinaryIO) -> int:
    _, taken = _count_in(file)
    return (file.seek(0, os.SEEK_END) - taken) // 2
