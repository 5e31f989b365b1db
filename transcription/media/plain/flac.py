"""
A look at FLAC files of one stream with one or two channels, whose first frame is whole.

What is looked at is what a demuxer would take from the header, and, instead of decoding the first frame, the checksums
that its encoder wrote (RFC 9639, sections 8, 9.1.8 and 9.3). Whatever else may stand in such a file, pictures, tags
with a title or a language, another file behind it, is left to the codecs.
"""

import os
import struct
from typing import Any

from transcription.media.plain.answer import one_track

_FEWEST_BYTES = 64
_MOST_BYTES = 1 << 22  # of a longer one the codecs' look is a small part of what a submit costs
_MOST_FRAME_BYTES = 1 << 15
_PIECE = 1 << 16
_MOST_BLOCKS = 8
_INFO_BYTES = 34
_STREAM_INFO, _PADDING, _SEEK_TABLE, _COMMENTS = 0, 1, 3, 4
_TAGS_HEARD = (b"title", b"language")
_MARKS = (b"fLaC", b"ID3")
_RATES = {4: 8000, 5: 16_000, 6: 22_050, 7: 24_000, 8: 32_000, 9: 44_100, 10: 48_000}
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24}
_LEFT_SIDE, _MID_SIDE = 8, 10
_SYNCS = (b"\xff\xf8", b"\xff\xf9")


def look(descriptor: int, *, max_duration_s: float) -> dict[str, Any] | None:
    """What the file holds, as `codecs.probe.probe_descriptor` says it; None: this can't tell. OSError."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    head = os.pread(descriptor, _PIECE, 0)
    frame = _behind_metadata(head) if _FEWEST_BYTES < size < _MOST_BYTES else None
    if frame is None or _has_another(descriptor, size):
        return None
    described, samples = struct.unpack(">II", head[18:26])
    rate, channels, bits = described >> 12, (described >> 9 & 7) + 1, (described >> 4 & 31) + 1
    samples |= (described & 15) << 32
    first = head[frame : frame + _MOST_FRAME_BYTES]
    if rate not in _RATES.values() or channels > 2 or not _begins_well(first, rate, channels, bits):
        return None
    duration_s = samples / rate
    believable = 0 < duration_s <= max_duration_s and 100 < size / duration_s < channels * rate * 4.5 + 2000
    if not believable or not _is_whole(first, last=frame + len(first) == size):
        return None
    return one_track("flac", "flac", rate=rate, channels=channels, duration_s=duration_s)


def _behind_metadata(head: bytes) -> int | None:
    """Where the first frame begins, if all that stands before it is of no consequence."""
    at, kinds = len(_MARKS[0]), {_STREAM_INFO}
    for _ in range(_MOST_BLOCKS):
        kind, size = head[at] & 127, int.from_bytes(head[at + 1 : at + 4], "big")
        content, next_at = head[at + 4 : at + 4 + size], at + 4 + size
        heard = kind == _COMMENTS and any(tag in content.lower() for tag in _TAGS_HEARD)
        if kind not in kinds or heard or next_at + 4 > len(head) or (kind == _STREAM_INFO and size != _INFO_BYTES):
            return None
        if head[at] & 128:
            return next_at
        at, kinds = next_at, {_PADDING, _SEEK_TABLE, _COMMENTS}
    return None


def _has_another(descriptor: int, size: int) -> bool:
    """Whether another file may begin in this one."""
    overlap = max(map(len, _MARKS)) - 1
    pieces = (os.pread(descriptor, _PIECE + overlap, at) for at in range(4, size, _PIECE))
    return any(mark in piece for piece in pieces for mark in _MARKS)


def _begins_well(frame: bytes, rate: int, channels: int, bits: int) -> bool:
    """Whether a frame is the first one, is as the header says, and its own head is whole."""
    if len(frame) < 16 or frame[:2] not in _SYNCS or frame[4] != 0:
        return False
    blocks, rates, order, depth = frame[2] >> 4, frame[2] & 15, frame[3] >> 4, frame[3] >> 1 & 7
    count = order + 1 if order < _LEFT_SIDE else 2
    agrees = count == channels and order <= _MID_SIDE and depth in _BITS and _BITS[depth] == bits and not frame[3] & 1
    size = 5 + {6: 1, 7: 2}.get(blocks, 0)
    return agrees and blocks != 0 and _RATES.get(rates) == rate and _crc8(frame[:size]) == frame[size]


def _is_whole(frame: bytes, *, last: bool) -> bool:
    """Whether its checksum is right: over a frame and its checksum together, up to where the next begins, it is 0."""
    crc = 0
    for at, byte in enumerate(frame):
        if crc == 0 and at > 16 and frame[at : at + 2] == frame[:2]:
            return True
        crc = (crc << 8 & 0xFF00) ^ _CRC16[crc >> 8 ^ byte]
    return last and crc == 0


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """What each byte makes of a checksum that was 0."""
    found = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
        found.append(crc)
    return tuple(found)


_CRC8, _CRC16 = _table(0x107, 8), _table(0x18005, 16)
