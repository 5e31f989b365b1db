"""Containers made of chunks that each say their length: RIFF and AIFF, MP4, FLV, ASF, Matroska, CAF."""

import struct
from collections.abc import Callable

from transcription.media.codecs.bounds import MOST_STEPS, Bytes, Part, clipped

UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes of 32 bits from here on are what writers put that didn't know any."""

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
LEAST_LIKE = 0.5
_SOUND = (b"data", b"SSND", b"LIST")


def riff(file: Bytes, start: int) -> Part:
    """RIFF and AIFF: one chunk after the other, whatever the file's header says of all of them."""
    big = file.get(start, 4) in (b"RIFX", b"FORM")
    form = file.get(start + 8, 4)
    at, large = start + 12, 0
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        name, size = head[:4], int.from_bytes(head[4:8], "big" if big else "little")
        if name == b"RIFF" and head[8:12] == b"AVIX" and form == b"AVI ":
            at += 12
            continue
        if len(head) < 8 or not is_name(name) or name in (b"RIFF", b"FORM"):
            break
        if name == b"ds64":
            large = int.from_bytes(file.get(at + 16, 8), "little")
        if name in _SOUND and not 0 < size < UNKNOWN_SIZE:
            if not large:
                return Part(start, file.size)
            size = large
        following = at + 8 + size + size % 2
        if following > file.size + 1:
            return Part(start, file.size, following - file.size)
        if name == b"data" and not big and (part := _longer(file, start, at, following)):
            return part
        at = following
    return clipped(file, start, at)


def _longer(file: Bytes, start: int, at: int, following: int) -> Part | None:
    """A WAV part whose `data` goes on after the end that its header claims; None where what follows is no sound."""
    rest = file.size - following
    if rest < 4096 or is_name(file.get(following, 4)) or rest >= UNKNOWN_SIZE:
        return None
    bits = file.get(start + 34, 2)
    if bits != b"\x10\x00" or not _alike(file.get(at + 8, 65_536), file.get(following, 65_536)):
        return None
    size = file.size - at - 8
    return Part(start, file.size, patched=at + 4, patch=struct.pack("<I", size))


def _alike(sound: bytes, rest: bytes) -> bool:
    """Whether *rest* is 16-bit sound as *sound* is: neighbours in sound are alike, in other data they aren't."""
    return min(_likeness(sound), _likeness(rest)) > LEAST_LIKE


def _likeness(data: bytes) -> float:
    values = memoryview(data[: len(data) // 2 * 2]).cast("h").tolist()
    power = sum(value * value for value in values)
    # The next sample of any channel: two apart is the same channel in stereo, and near enough in mono.
    return sum(a * b for a, b in zip(values, values[2:], strict=False)) / power if power else 0.0


def is_name(name: bytes) -> bool:
    """Whether *name* can be a chunk's: four printable ASCII characters."""
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def boxes(file: Bytes, start: int) -> Part:
    """MP4 and its kin: one box after the other, up to the next `ftyp`."""
    at, seen = start, False
    for _ in range(MOST_STEPS):
        head = file.get(at, 16)
        name = head[4:8]
        if len(head) < 8 or (name == b"ftyp" and seen) or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in name):
            break
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0:
            return Part(start, file.size)
        if size < 8:
            break
        if at + size > file.size:
            return Part(start, file.size, at + size - file.size)
        seen = seen or name in (b"moov", b"moof", b"mdat")
        at += size
    return clipped(file, start, at)


def flv(file: Bytes, start: int) -> Part:
    """FLV: one tag after the other."""
    at = start + 13
    for _ in range(MOST_STEPS):
        head = file.get(at, 11)
        if len(head) < 11 or head[:4] == b"FLV\x01":
            break
        if head[0] & 0x1F not in (8, 9, 18):  # a hole: the next whole file, if any, ends this one
            return Part(start, file.find((b"FLV\x01",), at))
        at += 15 + int.from_bytes(head[1:4], "big")
    return clipped(file, start, at)


def asf(file: Bytes, start: int) -> Part:
    """ASF and WMA: one object after the other."""
    at = start
    for _ in range(MOST_STEPS):
        head = file.get(at, 24)
        if len(head) < 24 or (at > start and head[:16] == ASF):
            break
        size = int.from_bytes(head[16:24], "little")
        if size < 24 or (at + size > file.size and head[:16] != ASF_DATA):
            return Part(start, file.find((ASF,), at + 16))
        if at + size > file.size:
            return Part(start, file.size, at + size - file.size)
        at += size
    return clipped(file, start, at)


def ebml(file: Bytes, start: int) -> Part:
    """Matroska and WebM: one segment, or what comes before the next file's header where its size is unknown."""
    size, body = _vint(file, start + 4)
    at = body + (size or 0)
    if file.get(at, 4) != _SEGMENT:
        return Part(start, file.size)
    size, body = _vint(file, at + 4)
    if size is not None:
        return clipped(file, start, body + size)
    while (found := file.find((EBML,), body)) < file.size:
        if b"webm" in file.get(found, 64) or b"matroska" in file.get(found, 64):
            return Part(start, found)
        body = found + 1
    return Part(start, file.size)


def _vint(file: Bytes, at: int) -> tuple[int | None, int]:
    """A number of EBML's at *at*, None for «unknown», and where what it tells of begins."""
    first = file.get(at, 1)[0] if at < file.size else 0
    length = 9 - first.bit_length() if first else 8
    value = int.from_bytes(file.get(at, length), "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def caf(file: Bytes, start: int) -> Part:
    """CAF: one chunk after the other."""
    at = start + 8
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        if len(head) < 12 or not is_name(head[:4]) or head[:8] == b"caff\x00\x01\x00\x00":
            break
        size = int.from_bytes(head[4:12], "big", signed=True)
        if size < 0:
            return Part(start, file.size)
        at += 12 + size
        if at > file.size:
            return Part(start, file.size, at - file.size)
    return clipped(file, start, at)


def sized(at: int, kind: str, *, header: int | None = None) -> Callable[[Bytes, int], Part]:
    """A kind whose header says at *at* how long it, or what follows a header of so many bytes, is."""

    def walk(file: Bytes, start: int) -> Part:
        (size,) = struct.unpack(kind, file.get(start + at, struct.calcsize(kind)).ljust(struct.calcsize(kind), b"\0"))
        if size == 0 or (size >= UNKNOWN_SIZE and kind[-1] == "I"):
            return Part(start, file.size)
        offset = 0 if header is None else int.from_bytes(file.get(start + header, 4), "big")
        return clipped(file, start, start + offset + size)

    return walk
