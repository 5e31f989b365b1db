"""
Parts: where in a file one container ends and another begins.

Recorders, players and people put whole files one after the other, and a demuxer reads only the first of them, or takes
the next one's header for sound. What is found here are bounds; nothing is decoded.
"""

import struct
from collections.abc import Callable
from dataclasses import replace

from transcription.media.containers import amr, boxes, caf
from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.matroska import EBML, matroska
from transcription.media.containers.mpeg_audio import FLAC, behind_tags, flac, is_frame, mpeg_audio
from transcription.media.containers.part import MOST_HITS, MOST_STEPS, UNKNOWN_SIZE, Part, clipped
from transcription.media.containers.riff import FILES, longer, riff

MOST_JUNK = 1 << 20
"""Bytes before the first container that are leapt over."""

_AU_KINDS = {b"\0\0\0\3": ">i2", b"\0\0\0\4": ">i3", b"\0\0\0\5": ">i4"}
_TTA_HEAD, _TTA_SHARE = 22, (256, 245)
_FIRST_OF_CHANNELS = 0x800

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")

# What a container begins with, each so long that sound hardly ever holds it by chance.
_STARTS = (
    b"wvpk", b"TTA1\x01\x00", EBML, _ASF, _W64, *FLAC, *amr.MARKS,
    b"FLV\x01", b"OggS\x00\x02", b".snd\x00\x00\x00", b"caff\x00\x01",
)  # fmt: skip


def part_at(file: Bytes, start: int) -> Part:
    """The container that begins at *start*; the whole rest where its kind has no end, or isn't known."""
    behind = behind_tags(file, start)
    head = file.get(behind, 16)
    if behind > start and _begins(head) and head[:4] != b"fLaC":
        start = behind  # a tag that no demuxer expects there
    walk = next((walk for begins, walk in _WALKS if begins(head)), mpeg_audio if behind > start else None)
    if walk is None or start >= file.size:
        return Part(start, file.size)
    found = walk(file, start)
    return found if found.end > start else Part(start, file.size)


def resumed(file: Bytes, part: Part, position: int) -> Part | None:
    """What is left of *part* when its demuxer gave up before *position*; None where it can't be taken up again."""
    head = part.patch if part.patch and part.patched == part.start else file.get(part.start, 8)
    if head[:4] == b"wvpk":
        found = file.find((b"wvpk",), position + 1)
        return Part(found, part.end) if found < part.end else None
    if head[:5] == b"#!AMR":
        return amr.amr_again(file, part) if part.broken else None
    return boxes.boxes_again(file, part, position) if head[4:8] in boxes.NAMES else None


def lacks_index(file: Bytes, part: Part) -> bool:
    """Whether the table that says where the sound of *part* is isn't there, without which there is none to be had."""
    head = file.get(part.start, 8)
    if head[:4] == b"caff":
        return caf.lacks_index(file, part)
    return head[4:8] in boxes.NAMES and boxes.lacks_index(file, part)


def next_start(file: Bytes, position: int) -> int:
    """Where another container begins, at *position* or later; the file's size where none does."""
    if _begins(file.get(position, 16)):
        return position
    if behind_tags(file, position) > position:
        return position
    found = position
    for _ in range(MOST_HITS):
        found = file.find((*_STARTS, b"RIFF", b"FORM", b"RF64", b"ftyp"), found + 1)
        if found >= file.size:
            return file.size
        at = found - 4 if file.get(found, 4) == b"ftyp" else found
        if at >= position and _begins(file.get(at, 16)):
            return at
    return file.size


def behind_junk(file: Bytes) -> int | None:
    """Where the first container begins that is known by its first bytes, in a file that doesn't begin with one."""
    found = next_start(file, 1)
    return found if found < min(file.size, MOST_JUNK) else None


def is_padding(rest: bytes) -> bool:
    """Whether *rest*, the first bytes after a container's end, are tags or filling that nobody misses."""
    return not rest.strip(b"\x00\xff\n\r ") or rest[:3] == b"TAG" or rest[:8] in (b"APETAGEX", b"LYRICSBE")


def _begins(head: bytes) -> bool:
    riff = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] in (b"WAVE", b"AVI ")
    form = head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX")
    box = head[4:8] == b"ftyp" and head[8:12].isascii() and head[8:12].decode("ascii").isprintable()
    return riff or form or box or any(head.startswith(mark) for mark in _STARTS)


def _flv(file: Bytes, start: int) -> Part:
    at = start + 13
    for _ in range(MOST_STEPS):
        head = file.get(at, 11)
        if len(head) < 11 or head[:4] == b"FLV\x01":
            break
        if head[0] & 0x1F not in (8, 9, 18):  # a hole: the next whole file, if any, ends this one
            return Part(start, file.find((b"FLV\x01",), at))
        at += 15 + int.from_bytes(head[1:4], "big")
    return clipped(file, start, at)


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
    return clipped(file, start, at)


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


def _tta(file: Bytes, start: int) -> Part:
    """A table of sizes behind the header, one for each frame of so many samples."""
    rate, samples = struct.unpack("<II", file.get(start + 10, 8).ljust(8, b"\0"))
    frames = -(-samples * _TTA_SHARE[1] // (_TTA_SHARE[0] * rate)) if rate else 0
    table = file.get(start + _TTA_HEAD, 4 * frames) if frames <= MOST_STEPS else b""
    if not frames or len(table) < 4 * frames:
        return Part(start, file.size)
    return clipped(file, start, start + _TTA_HEAD + len(table) + 4 + sum(struct.unpack(f"<{frames}I", table)))


def _sized(at: int, kind: str, *, header: int | None = None) -> Callable[[Bytes, int], Part]:
    """A kind whose header says at *at* how long it, or what follows a header of so many bytes, is."""

    def walk(file: Bytes, start: int) -> Part:
        (size,) = struct.unpack(kind, file.get(start + at, struct.calcsize(kind)).ljust(struct.calcsize(kind), b"\0"))
        if size == 0 or (size >= UNKNOWN_SIZE and kind[-1] == "I"):
            return Part(start, file.size)
        offset = 0 if header is None else int.from_bytes(file.get(start + header, 4), "big")
        part = clipped(file, start, start + offset + size)
        samples = _AU_KINDS.get(file.get(start + 12, 4)) if header is not None else None
        if samples and not part.missing:
            rest = longer(file, part, start + offset, samples, patched=start + at, patch=">I")
            # Here the size is of the sound alone, not of all that follows it.
            return replace(rest, patch=b"\xff" * 4) if rest else part
        return part

    return walk


_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[Bytes, int], Part]], ...] = (
    (lambda head: head[:4] in FILES, riff),
    (lambda head: head[4:8] in boxes.NAMES, boxes.boxes),
    (lambda head: head[:4] == b"OggS", _ogg),
    (lambda head: head[:4] == EBML, matroska),
    (lambda head: head[:4] == b"FLV\x01", _flv),
    (lambda head: head == _ASF, _asf),
    (lambda head: head[:4] == b"fLaC", flac),
    (is_frame, mpeg_audio),
    (lambda head: head[:5] == b"#!AMR" and any(head.startswith(mark) for mark in amr.MARKS), amr.amr),
    (lambda head: head[:4] == b"wvpk", _wavpack),
    (lambda head: head[:4] == b"TTA1", _tta),
    (lambda head: head[:4] == b".snd", _sized(8, ">I", header=4)),
    (lambda head: head == _W64, _sized(16, "<Q")),
    (lambda head: head[:4] == b"caff", caf.caf),
)
