"""
Parts: where in a file one container ends and another begins.

Recorders, players and people put whole files one after the other, and a demuxer reads only the first of them, or takes
the next one's header for sound. What is found here are bounds; nothing is decoded.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

BLOCK = 1 << 20
MOST_STEPS = 2_000_000
"""Pages, boxes, tags or frames that are looked at in a file; what comes after them belongs to the last part."""

UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes of 32 bits from here on are what writers put that didn't know any."""

LEAST_LIKE = 0.5
_NO_SIZE = 1 << 60
_AMR_ROW, _LEAST_AMR = 12, 6
_FIRST_OF_CHANNELS = 0x800

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_SOUND = (b"data", b"SSND", b"LIST")
_FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_AMR = {b"#!AMR\n": (12, 13, 15, 17, 19, 20, 26, 31, 5), b"#!AMR-WB\n": (17, 23, 32, 36, 40, 46, 50, 58, 60, 5)}
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}

# What a container begins with, each so long that sound hardly ever holds it by chance.
_STARTS = (b"wvpk", _EBML, _ASF, _W64, *_FLAC, *_AMR, b"FLV\x01", b"OggS\x00\x02", b".snd\x00\x00\x00", b"caff\x00\x01")


class Bytes:
    """A file's bytes by their position; neighbours are read together."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = size_of(descriptor)
        self._block, self._at = b"", 0

    def get(self, position: int, count: int) -> bytes:
        """*count* bytes at *position*, fewer at the end."""
        begin = position - self._at
        if begin < 0 or begin + count > len(self._block):
            self._block, self._at, begin = os.pread(self._descriptor, max(BLOCK, count), position), position, 0
        return self._block[begin : begin + count]

    def find(self, marks: tuple[bytes, ...], position: int) -> int:
        """Where the first of *marks* is from *position* on; the file's size where none is."""
        longest = max(map(len, marks))
        while position < self.size:
            block = self.get(position, min(BLOCK, self.size - position))
            found = [at for mark in marks if (at := block.find(mark)) >= 0]
            if found:
                return position + min(found)
            position += max(1, len(block) - longest + 1) if len(block) >= longest else len(block) or self.size
        return self.size


def size_of(descriptor: int) -> int:
    """A file's size, by a call that the sandbox allows; more than there can be where the file has none."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        return _NO_SIZE


@dataclass(frozen=True, slots=True)
class Part:
    """
    One container in a file: the bytes from ``start`` to ``end``.

    ``missing`` bytes were claimed beyond the file's end; ``patch`` stands in place of the bytes at ``patched``, where a
    header claims too little or a hole must be leapt over. ``broken`` bytes in it are none of the container's;
    ``behind`` bytes before it couldn't be read, and only they tell how much is missing.
    """

    start: int
    end: int
    missing: int = 0
    patched: int = 0
    patch: bytes = b""
    broken: int = 0
    behind: int = 0


def part_at(file: Bytes, start: int) -> Part:
    """The container that begins at *start*; the whole rest where its kind has no end, or isn't known."""
    head = file.get(start, 16)
    walk = next((walk for begins, walk in _WALKS if begins(head)), None)
    if walk is None or start >= file.size:
        return Part(start, file.size)
    found = walk(file, start)
    return found if found.end > start else Part(start, file.size)


def resumed(file: Bytes, part: Part, position: int) -> Part | None:
    """What is left of *part* when its demuxer gave up before *position*; None where it can't be taken up again."""
    head = file.get(part.start, 8)
    if head[:4] == b"wvpk":
        found = file.find((b"wvpk",), position + 1)
        return Part(found, part.end) if found < part.end else None
    if head[:5] == b"#!AMR":
        return _amr_again(file, part) if part.broken else None
    if head[4:8] not in _BOXES:
        return None
    first = _first_fragment(file, part)
    while first:
        found = file.find((b"moof", b"ftyp"), position) - 4
        if found + 4 >= file.size or file.get(found + 4, 4) == b"ftyp":
            return None
        if int.from_bytes(file.get(found, 4), "big") < BLOCK:
            rest = _boxes(file, found)
            # A box to be skipped, over all that was read and can't be: positions in the file stay what they are.
            free = struct.pack(">I4sQ", 1, b"free", found - first)
            return Part(part.start, rest.end, rest.missing, patched=first, patch=free)
        position = found + 5
    return None


def _first_fragment(file: Bytes, part: Part) -> int:
    """Where the first `moof` of an MP4 is, 0 where there is none."""
    at = part.start
    for _ in range(64):
        head = file.get(at, 8)
        size = int.from_bytes(head[:4], "big")
        if head[4:8] == b"moof":
            return at
        if size < 8:
            return 0
        at += size
    return 0


def next_start(file: Bytes, position: int) -> int:
    """Where another container begins, at *position* or later; the file's size where none does."""
    if _begins(file.get(position, 16)):
        return position
    found = position
    for _ in range(MOST_STEPS):
        found = file.find((*_STARTS, b"RIFF", b"FORM", b"ftyp"), found + 1)
        if found >= file.size:
            return file.size
        at = found - 4 if file.get(found, 4) == b"ftyp" else found
        if at >= position and _begins(file.get(at, 16)):
            return at
    return file.size


def is_padding(rest: bytes) -> bool:
    """Whether *rest*, the first bytes after a container's end, are tags or filling that nobody misses."""
    return not rest.strip(b"\x00\xff\n\r ") or rest[:3] == b"TAG" or rest[:8] in (b"APETAGEX", b"LYRICSBE")


def _begins(head: bytes) -> bool:
    riff = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] in (b"WAVE", b"AVI ")
    form = head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX")
    box = head[4:8] == b"ftyp" and head[8:12].isascii() and head[8:12].decode("ascii").isprintable()
    return riff or form or box or any(head.startswith(mark) for mark in _STARTS) or head[:4] == b"ID3\x03"


def _clipped(file: Bytes, start: int, end: int) -> Part:
    return Part(start, min(end, file.size), max(0, end - file.size))


def _riff(file: Bytes, start: int) -> Part:
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
        if len(head) < 8 or not _is_name(name) or name in (b"RIFF", b"FORM"):
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
    return _clipped(file, start, at)


def _longer(file: Bytes, start: int, at: int, following: int) -> Part | None:
    """A WAV part whose `data` goes on after the end that its header claims; None where what follows is no sound."""
    rest = file.size - following
    if rest < 4096 or _is_name(file.get(following, 4)) or rest >= UNKNOWN_SIZE:
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


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _boxes(file: Bytes, start: int) -> Part:
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
    return _clipped(file, start, at)


def _flv(file: Bytes, start: int) -> Part:
    at = start + 13
    for _ in range(MOST_STEPS):
        head = file.get(at, 11)
        if len(head) < 11 or head[:4] == b"FLV\x01":
            break
        if head[0] & 0x1F not in (8, 9, 18):  # a hole: the next whole file, if any, ends this one
            return Part(start, file.find((b"FLV\x01",), at))
        at += 15 + int.from_bytes(head[1:4], "big")
    return _clipped(file, start, at)


def _asf(file: Bytes, start: int) -> Part:
    at = start
    for _ in range(MOST_STEPS):
        head = file.get(at, 24)
        if len(head) < 24 or (at > start and head[:16] == _ASF):
            break
        size = int.from_bytes(head[16:24], "little")
        if size < 24 or (at + size > file.size and head[:16] != _ASF_DATA):
            return Part(start, file.find((_ASF,), at + 16))
        if at + size > file.size:
            return Part(start, file.size, at + size - file.size)
        at += size
    return _clipped(file, start, at)


def _ogg(file: Bytes, start: int) -> Part:
    """One link of a chain: up to the first page of a stream that begins after the others have begun."""
    at, begun, ended, broken = start, False, False, 0
    for _ in range(MOST_STEPS):
        head = file.get(at, 27)
        if len(head) < 27:
            break
        if head[:4] != b"OggS":
            again = file.find((b"OggS",), at + 1)
            at, broken = again, broken + again - at
            continue
        begins = bool(head[5] & 2)
        if begins and begun:
            return Part(start, at, broken=broken)
        begun, ended = begun or not begins, bool(head[5] & 4)
        lacing = file.get(at + 27, head[26])
        at += 27 + head[26] + sum(lacing)
    return Part(start, file.size, 0 if ended else max(1, at - file.size), broken=broken)


def _ebml(file: Bytes, start: int) -> Part:
    size, body = _vint(file, start + 4)
    at = body + (size or 0)
    if file.get(at, 4) != _SEGMENT:
        return Part(start, file.size)
    size, body = _vint(file, at + 4)
    if size is not None:
        return _clipped(file, start, body + size)
    while (found := file.find((_EBML,), body)) < file.size:
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


def _flac(file: Bytes, start: int) -> Part:
    return Part(start, file.find(_FLAC, start + 4))


def _amr(file: Bytes, start: int) -> Part:
    mark = next(mark for mark in _AMR if file.get(start, len(mark)) == mark)
    at = start + len(mark)
    for _ in range(MOST_STEPS):
        head = file.get(at, len(mark))
        if not head or head == mark:
            break
        if head[0] & 0x83:  # bits that are 0 in every frame
            return Part(start, at, broken=1)
        at += _amr_frame(mark, head[0])
    return _clipped(file, start, at)


def _amr_frame(mark: bytes, head: int) -> int:
    """Bytes of a frame that begins with *head*."""
    sizes, kind = _AMR[mark], head >> 3 & 15
    return 1 + (sizes[kind] if kind < len(sizes) else 0)


def _amr_again(file: Bytes, part: Part) -> Part | None:
    """What follows a hole: frames have no mark, so that a row of some like each other is looked for."""
    mark = next(mark for mark in _AMR if file.get(part.start, len(mark)) == mark or part.patch == mark)
    for again in range(part.end + 1, min(file.size, part.end + BLOCK)):
        kind, at = file.get(again, 1)[0], again
        step = _amr_frame(mark, kind)
        if kind & 0x87 != 0x04 or step < _LEAST_AMR:
            continue
        if all(file.get(at + n * step, 1) == file.get(again, 1) for n in range(_AMR_ROW)):
            rest = _amr_rest(file, mark, again)
            begin = again - len(mark)
            return Part(begin, rest.end, patched=begin, patch=mark, broken=rest.broken, behind=again - part.end)
    return None


def _amr_rest(file: Bytes, mark: bytes, at: int) -> Part:
    for _ in range(MOST_STEPS):
        head = file.get(at, len(mark))
        if not head or head == mark:
            break
        if head[0] & 0x83:
            return Part(at, at, broken=1)
        at += _amr_frame(mark, head[0])
    return Part(at, min(at, file.size))


def _wavpack(file: Bytes, start: int) -> Part:
    """Blocks, each with the number of its first sample: where that is 0 again, another file begins."""
    at = start
    for _ in range(MOST_STEPS):
        head = file.get(at, 28)
        if head[:8] == b"APETAGEX":  # what a file ends with
            return Part(start, at)
        if len(head) < 28 or head[:4] != b"wvpk":
            break
        size, index, flags = struct.unpack("<4xI8xI4xI", head)
        if index == 0 and flags & _FIRST_OF_CHANNELS and at > start:
            return Part(start, at)
        at += 8 + size
    return Part(start, file.size)


def _sized(at: int, kind: str, *, header: int | None = None) -> Callable[[Bytes, int], Part]:
    """A kind whose header says at *at* how long it, or what follows a header of so many bytes, is."""

    def walk(file: Bytes, start: int) -> Part:
        (size,) = struct.unpack(kind, file.get(start + at, struct.calcsize(kind)).ljust(struct.calcsize(kind), b"\0"))
        if size == 0 or (size >= UNKNOWN_SIZE and kind[-1] == "I"):
            return Part(start, file.size)
        offset = 0 if header is None else int.from_bytes(file.get(start + header, 4), "big")
        return _clipped(file, start, start + offset + size)

    return walk


def _caf(file: Bytes, start: int) -> Part:
    at = start + 8
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        if len(head) < 12 or not _is_name(head[:4]) or head[:8] == b"caff\x00\x01\x00\x00":
            break
        size = int.from_bytes(head[4:12], "big", signed=True)
        if size < 0:
            return Part(start, file.size)
        at += 12 + size
        if at > file.size:
            return Part(start, file.size, at - file.size)
    return _clipped(file, start, at)


_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[Bytes, int], Part]], ...] = (
    (lambda head: head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM"), _riff),
    (lambda head: head[4:8] in _BOXES, _boxes),
    (lambda head: head[:4] == b"OggS", _ogg),
    (lambda head: head[:4] == _EBML, _ebml),
    (lambda head: head[:4] == b"FLV\x01", _flv),
    (lambda head: head == _ASF, _asf),
    (lambda head: head[:4] == b"fLaC", _flac),
    (lambda head: head[:5] == b"#!AMR" and any(head.startswith(mark) for mark in _AMR), _amr),
    (lambda head: head[:4] == b"wvpk", _wavpack),
    (lambda head: head[:4] == b".snd", _sized(8, ">I", header=4)),
    (lambda head: head == _W64, _sized(16, "<Q")),
    (lambda head: head[:4] == b"caff", _caf),
)
