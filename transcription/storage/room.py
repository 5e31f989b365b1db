"""Room on the disk that takes uploads: a floor stays free, however many come at once."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transcription.errors import DiskFull

RETRY_AFTER_S = 60


class DiskRoom:
    """
    What is promised of a disk. Threads share it.

    Every write is checked against what the disk has free then, so the floor holds also against other processes, but for
    what they write in the same moment. What an upload has said that it brings is kept for it.
    """

    def __init__(self, root: Path, *, floor_bytes: int) -> None:
        self._root = root
        self._floor = floor_bytes
        self._lock = threading.Lock()
        self._promised = 0
        self._in_writing = 0

    @property
    def promised_bytes(self) -> int:
        """What the uploads that are under way have yet to bring, as far as they have said."""
        return self._promised

    def promise(self, count: int) -> "Promise":
        """Keep *count* bytes for an upload."""
        with self._lock:
            self._promised += count
        return Promise(self, count)

    def give_back(self, count: int) -> None:
        """What was promised isn't needed any more, or has been written."""
        with self._lock:
            self._promised -= count

    @contextmanager
    def taken(self, count: int, *, own: int) -> Iterator[None]:
        """Let the block write *count* bytes, of which *own* were promised. DiskFull: others need them, or the floor."""
        if not self._floor:
            yield
            return
        with self._lock:
            left = free_bytes(self._root) - self._in_writing - (self._promised - own) - count
            if left < self._floor:
                raise DiskFull(
                    f"{self._floor >> 20} MiB of the uploads' disk must stay free "
                    "(MURMUR_LIMITS__MIN_FREE_DISK_BYTES), and this upload needs them",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._in_writing += count
        try:
            yield
        finally:
            with self._lock:
                self._in_writing -= count


class Promise:
    """What one upload may still write of what was kept for it."""

    def __init__(self, room: DiskRoom, count: int) -> None:
        self._room = room
        self._left = count

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Let the block write *count* bytes. DiskFull."""
        with self._room.taken(count, own=self._left):
            yield
        self._give_back(min(count, self._left))

    def end(self) -> None:
        """Give back what wasn't written."""
        self._give_back(self._left)

    def _give_back(self, count: int) -> None:
        self._left -= count
        self._room.give_back(count)


def free_bytes(root: Path) -> int:
    """What an ordinary user may still write on the disk of *root*, which may not be there yet."""
    while not root.exists() and root != root.parent:
        root = root.parent
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize
