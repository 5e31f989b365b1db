"""
A look at WAV files of plain samples, in which there is nothing to demux and nothing to decode.

It judges only what leaves no question: one chunk that says how the samples are, and one that holds them, to the file's
very end. Between them may stand what FFmpeg writes there: the name of the program that wrote the file.
"""

import os
import struct
from typing import Any, NamedTuple

from transcription.media.plain.answer import one_track

HEAD = struct.Struct("<4sI4s4sIHHIIHH")
CHUNK = struct.Struct("<4sI")
_READ = 1024  # bytes in which the samples must begin
_PCM, _BITS, _MOST_CHANNELS = 1, 16, 2
_RATES = range(4000, 192_001)
# Other codecs travel as samples, and begin with one of these somewhere near the start: S/PDIF, and four forms of DTS.
_DISGUISED = (b"\x72\xf8\x1f\x4e", b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\x00", b"\xff\x1f\x00\xe8")
_SEARCHED = 1 << 16
_FEWEST = 100  # of fewer samples the header is so large a part that its claim isn't believed


class Held(NamedTuple):
    """Samples of 16 bits, from the byte ``begin`` to the file's end."""

    begin: int
    rate: int
    channels: int
    duration_s: float

    def described(self) -> dict[str, Any]:
        """As `codecs.probe.probe_descriptor` says it."""
        return one_track("wav", "pcm_s16le", rate=self.rate, channels=self.channels, duration_s=self.duration_s)


def look(descriptor: int, *, max_duration_s: float) -> dict[str, Any] | None:
    """What the file holds, as `codecs.probe.probe_descriptor` says it; None: this can't tell. OSError."""
    found = held(descriptor, max_duration_s=max_duration_s)
    return None if found is None else found.described()


def held(descriptor: int, *, max_duration_s: float) -> Held | None:
    """Where the file's samples are, and what they are; None: this can't tell. OSError."""
    head = os.pread(descriptor, _READ, 0)
    at = HEAD.size + _writer_bytes(head[HEAD.size :])
    if len(head) < at + CHUNK.size:
        return None
    riff, size, wave, fmt, fmt_bytes, kind, channels, rate, byte_rate, align, bits = HEAD.unpack_from(head)
    data, data_bytes = CHUNK.unpack_from(head, at)
    begin, whole = at + CHUNK.size, os.lseek(descriptor, 0, os.SEEK_END)
    plain = (riff, wave, fmt, data, fmt_bytes, kind, bits) == (b"RIFF", b"WAVE", b"fmt ", b"data", 16, _PCM, _BITS)
    agrees = align == channels * _BITS // 8 and byte_rate == rate * align and size == whole - 8
    if not (plain and agrees and 1 <= channels <= _MOST_CHANNELS and rate in _RATES):
        return None
    if data_bytes != whole - begin or data_bytes < _FEWEST * align or data_bytes % align:
        return None
    begins = os.pread(descriptor, _SEARCHED, begin)
    duration_s = data_bytes / align / rate
    if duration_s > max_duration_s or any(mark in begins for mark in _DISGUISED):
        return None
    return Held(begin, rate, channels, duration_s)


def _writer_bytes(following: bytes) -> int:
    """How long the chunk is that names the program which wrote the file, and tells nothing else; 0: there is none."""
    name, size = _chunk(following)
    content = following[CHUNK.size : CHUNK.size + size]
    tag, tag_bytes = _chunk(content[4:])
    alone = len(content) == size == 4 + CHUNK.size + tag_bytes + tag_bytes % 2
    return CHUNK.size + size if (name, content[:4], tag) == (b"LIST", b"INFO", b"ISFT") and alone else 0


def _chunk(head: bytes) -> tuple[bytes, int]:
    name, size = CHUNK.unpack_from(head) if len(head) >= CHUNK.size else (b"", 0)
    return name, size
