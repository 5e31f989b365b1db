"""A file's bytes by their position, as the walks over containers ask for them."""

from transcription.media.codecs.source import pread, size_of

BLOCK = 1 << 20
"""How far a search for what stands nearby goes."""

_READ_BYTES = 1 << 16
"""Bytes that are read at once: larger blocks would come from memory that is new each time, at a page fault for 4 kB."""


class Bytes:
    """A file's bytes by their position; neighbours are read together."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = size_of(descriptor)
        self._block, self._at = b"", 0
        self._searched, self._searched_at = b"", 0
        self._hits: dict[bytes, int] = {}

    def get(self, position: int, count: int) -> bytes:
        """*count* bytes at *position*, fewer at the end."""
        begin = position - self._at
        if begin < 0 or begin + count > len(self._block):
            self._block, self._at, begin = pread(self._descriptor, max(_READ_BYTES, count), position), position, 0
        return self._block[begin : begin + count]

    def find(self, marks: tuple[bytes, ...], position: int) -> int:
        """Where the first of *marks* is from *position* on; the file's size where none is."""
        longest = max(map(len, marks))
        while position < self.size:
            begin = self._search_from(position, longest)
            found = min((self._hit(mark, begin) for mark in marks), default=len(self._searched))
            if found < len(self._searched):
                return self._searched_at + found
            position = max(position + 1, self._searched_at + len(self._searched) - longest + 1)
            if self._searched_at + len(self._searched) >= self.size or not self._searched:
                break
        return self.size

    def _search_from(self, position: int, longest: int) -> int:
        """Have *position* in the block that is searched; where it is there."""
        begin = position - self._searched_at
        if begin < 0 or begin + longest > len(self._searched):
            self._searched, self._searched_at, begin = pread(self._descriptor, _READ_BYTES, position), position, 0
            self._hits.clear()
        return begin

    def _hit(self, mark: bytes, begin: int) -> int:
        """Where *mark* is in the block from *begin* on, its size for nowhere: no byte is searched twice for a mark."""
        known = self._hits.get(mark, -1)
        if known < begin:
            known = self._searched.find(mark, begin)
            self._hits[mark] = known = len(self._searched) if known < 0 else known
        return known
