"""
A look at WAV files of plain samples, in which there is nothing to demux and nothing to decode.

It judges only what leaves no question: one chunk that says how the samples are, and one that holds them, to the file's
very end.
"""

import os
import struct
from typing import Any

from transcription.media.plain.answer import one_track

HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")
_PCM, _BITS, _MOST_CHANNELS = 1, 16, 2
_RATES = range(4000, 192_001)
# Other codecs travel as samples, and begin with one of these somewhere near the start: S/PDIF, and four forms of DTS.
_DISGUISED = (b"\x72\xf8\x1f\x4e", b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\x00", b"\xff\x1f\x00\xe8")
_SEARCHED = 1 << 16
_FEWEST = 100  # of fewer samples the header is so large a part that its claim isn't believed


def look(descriptor: int, *, max_duration_s: float) -> dict[str, Any] | None:
    """What the file holds, as `codecs.probe.probe_descriptor` says it; None: this can't tell. OSError."""
    head = os.pread(descriptor, HEAD.size, 0)
    if len(head) < HEAD.size:
        return None
    riff, size, wave, fmt, fmt_bytes, kind, channels, rate, byte_rate, align, bits, data, data_bytes = HEAD.unpack(head)
    whole = os.lseek(descriptor, 0, os.SEEK_END)
    plain = (riff, wave, fmt, data, fmt_bytes, kind, bits) == (b"RIFF", b"WAVE", b"fmt ", b"data", 16, _PCM, _BITS)
    agrees = align == channels * _BITS // 8 and byte_rate == rate * align and size == whole - 8
    if not (plain and agrees and 1 <= channels <= _MOST_CHANNELS and rate in _RATES):
        return None
    if data_bytes != whole - HEAD.size or data_bytes < _FEWEST * align or data_bytes % align:
        return None
    begins = os.pread(descriptor, _SEARCHED, HEAD.size)
    duration_s = data_bytes / align / rate
    if duration_s > max_duration_s or any(mark in begins for mark in _DISGUISED):
        return None
    return one_track("wav", "pcm_s16le", rate=rate, channels=channels, duration_s=duration_s)
