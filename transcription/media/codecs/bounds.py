"""A file's bytes by their position, and the bounds of a container in them."""

from dataclasses import dataclass

from transcription.media.codecs.source import pread, size_of

BLOCK = 1 << 20
MOST_STEPS = 2_000_000
"""Pages, boxes, tags or frames that are looked at in a file; what comes after them belongs to the last part."""


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
            self._block, self._at, begin = pread(self._descriptor, max(BLOCK, count), position), position, 0
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


def clipped(file: Bytes, start: int, end: int) -> Part:
    """The part from *start* to *end*; what of it would lie beyond the file's end is missing."""
    return Part(start, min(end, file.size), max(0, end - file.size))
