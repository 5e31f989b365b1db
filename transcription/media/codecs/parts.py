"""
Parts: where in a file one container ends and another begins.

Recorders, players and people put whole files one after the other, and a demuxer reads only the first of them, or takes
the next one's header for sound. What is found here are bounds; nothing is decoded.
"""

import struct
from collections.abc import Callable

from transcription.media.codecs.bounds import BLOCK, MOST_STEPS, Bytes, Part
from transcription.media.codecs.chunks import ASF, EBML, asf, boxes, caf, ebml, flv, riff, sized
from transcription.media.codecs.streams import AMR, FLAC, amr, amr_again, flac, ogg, wavpack

W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}

# What a container begins with, each so long that sound hardly ever holds it by chance.
_STARTS = (b"wvpk", EBML, ASF, W64, *FLAC, *AMR, b"FLV\x01", b"OggS\x00\x02", b".snd\x00\x00\x00", b"caff\x00\x01")


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
        return amr_again(file, part) if part.broken else None
    if head[4:8] not in BOXES:
        return None
    first = _first_fragment(file, part)
    while first:
        found = file.find((b"moof", b"ftyp"), position) - 4
        if found + 4 >= file.size or file.get(found + 4, 4) == b"ftyp":
            return None
        if int.from_bytes(file.get(found, 4), "big") < BLOCK:
            rest = boxes(file, found)
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


_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[Bytes, int], Part]], ...] = (
    (lambda head: head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM"), riff),
    (lambda head: head[4:8] in BOXES, boxes),
    (lambda head: head[:4] == b"OggS", ogg),
    (lambda head: head[:4] == EBML, ebml),
    (lambda head: head[:4] == b"FLV\x01", flv),
    (lambda head: head == ASF, asf),
    (lambda head: head[:4] == b"fLaC", flac),
    (lambda head: head[:5] == b"#!AMR" and any(head.startswith(mark) for mark in AMR), amr),
    (lambda head: head[:4] == b"wvpk", wavpack),
    (lambda head: head[:4] == b".snd", sized(8, ">I", header=4)),
    (lambda head: head == W64, sized(16, "<Q")),
    (lambda head: head[:4] == b"caff", caf),
)
