"""Room on the disk that takes uploads: a floor stays free, however many come at once."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transcription.errors import DiskFull

RETRY_AFTER_S = 60
LONGEST_WAIT_S = 10.0
"""How long a write waits for others to end: a share that hangs holds no more threads than its own writes do."""


class DiskRoom:
    """
    What is promised of a disk. Threads share it.

    Every write is checked against what the disk has free then, so the floor holds also against other processes, but for
    what they write in the same moment. What an upload has said that it brings is kept for it.
    """

    def __init__(self, root: Path, *, floor_bytes: int) -> None:
        self._root = root
        self._floor = floor_bytes
        self._changed = threading.Condition()
        self._promised = 0
        self._in_writing = 0

    @property
    def promised_bytes(self) -> int:
        """What the uploads that are under way have yet to bring, as far as they have said."""
        return self._promised

    def promise(self, count: int) -> "Promise":
        """Keep *count* bytes for an upload."""
        with self._changed:
            self._promised += count
        return Promise(self, count)

    def give_back(self, count: int) -> None:
        """What was promised isn't needed any more."""
        with self._changed:
            self._promised -= count

    @contextmanager
    def taken(self, count: int, *, own: int) -> Iterator[None]:
        """Let the block write *count* bytes for whom *own* are promised. DiskFull: others need them, or the floor."""
        with self._changed:
            # What is just being written counts as such, and may be missing on the disk already: nobody is refused for
            # bytes that count twice.
            while not self._has_room(count, own):
                if not (self._in_writing and self._changed.wait(LONGEST_WAIT_S)):
                    raise DiskFull(
                        f"{self._floor >> 20} MiB of the uploads' disk must stay free "
                        "(MURMUR_LIMITS__MIN_FREE_DISK_BYTES), and this upload needs them",
                        retry_after_s=RETRY_AFTER_S,
                    )
            self._promised -= min(count, own)
            self._in_writing += count
        try:
            yield
        finally:
            with self._changed:
                self._in_writing -= count
                self._changed.notify_all()

    def _has_room(self, count: int, own: int) -> bool:
        if not self._floor:
            return True
        return free_bytes(self._root) - self._in_writing - (self._promised - own) - count >= self._floor


class Promise:
    """What one upload may still write of what was kept for it."""

    def __init__(self, room: DiskRoom, count: int) -> None:
        self._room = room
        self._left = count

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Let the block write *count* bytes. DiskFull."""
        with self._room.taken(count, own=self._left):
            self._left -= min(count, self._left)
            yield

    def end(self) -> None:
        """Give back what wasn't written."""
        left, self._left = self._left, 0
        self._room.give_back(left)


def free_bytes(root: Path) -> int:
    """What an ordinary user may still write on the disk of *root*, which may not be there yet."""
    while not root.exists() and root != root.parent:
        root = root.parent
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize
