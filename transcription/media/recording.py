"""Recording: decoded sound with its gaps, in a file of which only what is asked for is read."""

import json
import os
import struct
import threading
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from transcription import tracks
from transcription.encryption.files import PLAIN, Broken, FileEncryption
from transcription.errors import BlobMissing
from transcription.media.audio import BLOCK, FULL_SCALE, RATE, Samples, gain_of, sample_at
from transcription.media.timeline import Holes, checked
from transcription.result_warning import ResultWarning, parsed
from transcription.spans import Span
from transcription.tracks import Track

_END = struct.Struct("<q8s")
_MARK = b"murmpcm4"


class HeldSamples(Protocol):
    """Mono sound, float32 in [-1, 1], 16 kHz, of which parts can be had: an array, or a recording in a file."""

    @property
    def size(self) -> int:
        """How many samples there are."""

    def __getitem__(self, part: slice, /) -> Samples:
        """The samples from one position to another, fewer at the end."""


class Sound(Protocol):
    """What stretches of a recording can be taken from."""

    @property
    def holes(self) -> Holes:
        """Where more silence belongs than is held."""

    def cut(self, stretch: Span) -> Samples:
        """The samples of a stretch, in the recording's seconds, that holds no hole."""


class Recording:
    """
    What was decoded of a file: 16-bit little-endian samples at the beginning of *file*.

    ``size`` samples are held; ``holes`` says where more silence belongs between them. ``tracks`` are the audio tracks
    there were, the one that was taken among them; ``same_as`` is the number of another channel that has the same sound,
    where one channel was taken. ``gain`` is what every sample is multiplied by as it is read. It can be read for as
    long as it lives, whatever becomes of the file's name. Threads may share it.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int,
        holes: Holes | None = None,
        warnings: Sequence[ResultWarning] = (),
        tracks: Sequence[Track] = (),
        gain: float = 1.0,
        same_as: int | None = None,
    ) -> None:
        self.size = size
        self.gain = gain
        self.same_as = same_as
        self._holes = holes or Holes()
        self.warnings = tuple(warnings)
        self.tracks = tuple(tracks)
        self._file = file
        self._lock = threading.Lock()

    @classmethod
    def opened(cls, path: Path, encryption: FileEncryption = PLAIN, *, name: str = "") -> "Recording":
        """The one of that name, which lies whole at *path*. BlobMissing: there is none."""
        why = "the decoded audio on this host's disk is cut, another version's, or another recording's"
        try:
            file = encryption.open(path, plain=False)
        except FileNotFoundError:
            raise BlobMissing("the decoded audio isn't on this host's disk any more") from None
        except Broken:
            raise BlobMissing(why) from None
        try:
            recording = _read(file, name)
        except (struct.error, ValueError, TypeError, KeyError, Broken):
            file.close()
            raise BlobMissing(why) from None
        weakref.finalize(recording, file.close)
        return recording

    @classmethod
    def from_report(cls, file: BinaryIO, room: int, facts: dict[str, object]) -> "Recording":
        """
        One with what a decoder says of it, none of which is believed unseen. KeyError, TypeError, ValueError.

        *room* is how many samples *file* may hold at most: an encrypted one is filled up behind the last.
        """
        size = facts["samples"]
        if type(size) is not int or not 0 < size <= room:
            raise ValueError(f"{size} samples of {room}")
        holes = checked(facts["holes"], held=size)  # type: ignore[arg-type]
        warnings, found = parsed(facts["warnings"]), tracks.parsed(facts["tracks"])  # type: ignore[arg-type]
        same = facts.get("same_as")
        same_as = same if isinstance(same, int) and same > 0 else None
        return cls(file, size=size, holes=holes, warnings=warnings, tracks=found, same_as=same_as)

    @property
    def holes(self) -> Holes:
        """Where more silence belongs than is held."""
        return self._holes

    @property
    def duration_s(self) -> float:
        """The timeline's length."""
        return (self.size + self.holes.samples) / RATE

    @property
    def held_s(self) -> float:
        """How much sound is held."""
        return self.size / RATE

    def __getitem__(self, part: slice, /) -> Samples:
        """The held samples from one position to another, fewer at the end."""
        samples = self._raw(part)
        if self.gain != 1.0:
            samples = np.rint(samples * np.float32(self.gain))
        return samples / FULL_SCALE

    def _raw(self, part: slice) -> Samples:
        """The same as they lie there, in units of the last of 16 bits."""
        first, last, _ = part.indices(self.size)
        with self._lock:
            self._file.seek(2 * first)
            return np.frombuffer(self._file.read(2 * max(0, last - first)), "<i2").astype(np.float32)

    def cut(self, stretch: Span) -> Samples:
        """The samples of a stretch, in the recording's seconds, that holds no hole."""
        return self[self.holes.held_at(sample_at(stretch.start)) : self.holes.held_at(sample_at(stretch.end))]

    def normalize(self) -> None:
        """Make it as loud as it can be from now on: see `gain_of`. The samples have 16 bits as before."""
        blocks = range(0, self.size, BLOCK)
        loudest = max((float(np.abs(self._raw(slice(at, at + BLOCK))).max()) for at in blocks), default=0.0)
        self.gain = gain_of(loudest / float(FULL_SCALE))

    def facts(self, name: str = "") -> bytes:
        """What else is known of the recording of that name, as it stands behind the samples of a whole one."""
        facts = {
            "name": name,
            "samples": self.size,
            "gain": self.gain,
            "holes": [[hole.at, hole.samples] for hole in self.holes.all],
            "warnings": [warning.shape() for warning in self.warnings],
            "tracks": [asdict(track) for track in self.tracks],
            "same_as": self.same_as,
        }
        text = json.dumps(facts).encode()
        return text + _END.pack(len(text), _MARK)


def _read(file: BinaryIO, name: str) -> Recording:
    """The recording in a file that has its facts behind it. ValueError, or another: it isn't one."""
    end = file.seek(0, os.SEEK_END) - _END.size
    file.seek(max(0, end))
    length, mark = _END.unpack(file.read(_END.size))
    if mark != _MARK:
        raise ValueError(mark)
    file.seek(end - length)
    facts = json.loads(file.read(length))
    if facts["name"] != name:
        raise ValueError(f"it is of {facts['name']}")
    recording = Recording.from_report(file, (end - length) // 2, facts)
    recording.gain = float(facts["gain"])
    return recording
