"""Part: one container in a file, by its bounds."""

from dataclasses import dataclass

from transcription.media.containers.file_bytes import Bytes

MOST_STEPS = 2_000_000
"""Pages, boxes, tags or frames that are looked at in a file; what comes after them belongs to the last part."""

MOST_HITS = 10_000
"""Marks that may be another container's first bytes, and mostly aren't, that are looked at in one go."""

UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes of 32 bits from here on are what writers put that didn't know any."""


@dataclass(frozen=True, slots=True)
class Part:
    """
    One container in a file: the bytes from ``start`` to ``end``.

    ``missing`` bytes were claimed beyond the file's end; ``patch`` stands in place of the bytes at ``patched``, where a
    header claims too little or a hole must be leapt over. ``broken`` bytes in it are none of the container's;
    ``behind`` bytes before it couldn't be read, and only they tell how much is missing. ``goes_on``: what follows is
    the same recording, so that its claimed length holds for both.
    """

    start: int
    end: int
    missing: int = 0
    patched: int = 0
    patch: bytes = b""
    broken: int = 0
    behind: int = 0
    goes_on: bool = False


def clipped(file: Bytes, start: int, end: int) -> Part:
    """The part from *start* to *end*, which may be claimed to lie beyond the file's end."""
    return Part(start, min(end, file.size), max(0, end - file.size))


def is_name(name: bytes) -> bool:
    """Whether *name* is a chunk's, of four printable characters."""
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)
