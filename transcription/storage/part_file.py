"""A file on its way in: hashed and, where files are encrypted, encrypted as it is written."""

import errno
import hashlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transcription.encryption.files import PLAIN, FileEncryption
from transcription.encryption.sealed import Sealer
from transcription.errors import DiskFull, StorageUnavailable
from transcription.storage.room import Promise

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RETRY_AFTER_S = 60
_MODE = 0o640
_UNSYNCED_BYTES = 32 << 20
"""Most that waits in memory to be written: a gigabyte at the end would hold up whoever else syncs to that disk, the
ledger too."""


class PartFile(io.BufferedIOBase):
    """
    A new file, which its first `write` creates; aiofiles lets it be written beside the event loop.

    A request that was canceled leaves its write running in a thread: who closes the file waits for that, and what
    comes later is left out.
    """

    def __init__(self, path: Path, promise: Promise, encryption: FileEncryption = PLAIN) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._promise = promise
        self._encryption = encryption
        self._sealer: Sealer | None = None
        self._whole = False
        self._hash = hashlib.sha256()
        self._unsynced = 0
        self._descriptor: int | None = None
        self._over = False

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written, as it came."""
        return self._hash.hexdigest()

    def fileno(self) -> int:
        """The open file's descriptor. RuntimeError: nothing was written yet, or it is closed."""
        if self._descriptor is None:
            raise RuntimeError("the upload was given up, or has no bytes")
        return self._descriptor

    def write(self, data: Any, /) -> int:
        """Add bytes, all of them. DiskFull, StorageUnavailable."""
        with self.lock, disk_errors():
            if self._over:
                return 0
            if self._whole and data:
                raise RuntimeError("an encrypted file takes nothing behind its end")
            if self._descriptor is None:
                self._create()
            self._hash.update(data)
            self._store(self._sealer.feed(data) if self._sealer and data else data)
        return len(data)

    def flush(self) -> None:
        """Write what is held back: an encrypted file is whole then. DiskFull, StorageUnavailable."""
        with self.lock, disk_errors():
            if self._sealer and not self._whole and not self._over:
                self._whole = True
                self._store(self._sealer.finish())

    def close(self) -> None:
        """Let the file go, as it is, and what was promised for it."""
        with self.lock:
            if not self._over:
                self._promise.end()
            self._over = True
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    @property
    def closed(self) -> bool:
        """Whether it was let go."""
        return self._over

    def writable(self) -> bool:
        """It is."""
        return True

    def _create(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        self._sealer = self._encryption.sealer()

    def _store(self, data: bytes | bytearray) -> None:
        with self._promise.taken(len(data)):
            view = memoryview(data)
            while view:
                view = view[os.write(self.fileno(), view) :]
        self._unsynced += len(data)
        if self._unsynced >= _UNSYNCED_BYTES:
            os.fsync(self.fileno())
            self._unsynced = 0


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate a full disk into DiskFull, and one that is away or broken into StorageUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            said = f"the disk of the uploads can't be read or written ({error.strerror or error})"
            raise StorageUnavailable(said, retry_after_s=_RETRY_AFTER_S) from error
        raise DiskFull(f"the disk of the uploads is full ({error.strerror})", retry_after_s=_RETRY_AFTER_S) from error
