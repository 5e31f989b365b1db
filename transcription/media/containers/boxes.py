"""MP4, QuickTime and 3GP: boxes, and fragments behind a hole."""

import struct

from transcription.media.containers.file_bytes import BLOCK, Bytes
from transcription.media.containers.part import MOST_STEPS, Part, clipped

NAMES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}
"""Boxes that a file begins with."""


def lacks_index(file: Bytes, part: Part) -> bool:
    """Whether *part* holds sound, or claims to, and neither a table of it nor fragments with tables of their own."""
    at, found = part.start, set()
    for _ in range(MOST_STEPS):
        head = file.get(at, 16)
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size or file.size - at
        if len(head) < 8 or size < 8 or at >= part.end:
            break
        # A box that isn't all there can't be read.
        found.add(head[4:8] if at + size <= file.size or head[4:8] == b"mdat" else b"")
        at += size
    return b"mdat" in found and not found & {b"moov", b"moof"}


def boxes_again(file: Bytes, part: Part, position: int) -> Part | None:
    """The fragments of *part* from *position* on, behind its header."""
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


def boxes(file: Bytes, start: int) -> Part:
    """One box after the other, up to another file's first one."""
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
