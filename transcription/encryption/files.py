"""Files that may be encrypted or plain: written as the settings say, read as they are."""

import io
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, cast

from transcription.encryption.keys import KeyProvider, open_provider, unavailable
from transcription.encryption.sealed import (
    HEADER_BYTES,
    Broken,
    SealedBytes,
    Sealer,
    chunks_in,
    header,
    new_key,
    parsed,
    sealed_size,
)
from transcription.settings import Settings

_REMEMBERED = 256


class FileEncryption:
    """
    Encrypts new files where there is a provider of keys; recordings that are plain stay readable.

    Without a provider nothing is encrypted, and nothing is taken for encrypted. With *accept_plain* results and backups
    may be plain too, though nothing then shows that they are ours. Threads share it.
    """

    def __init__(self, provider: KeyProvider | None = None, *, accept_plain: bool = False) -> None:
        self._provider = provider
        self._accept_plain = accept_plain
        self._lock = threading.Lock()
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()

    @property
    def on(self) -> bool:
        """Whether new files are encrypted."""
        return self._provider is not None

    def check_plain(self) -> None:
        """Refuse what is plain and can't be told from a forgery. Broken."""
        if self.on and not self._accept_plain:
            raise Broken(
                "it isn't encrypted, so anybody may have written it; MURMUR_ENCRYPTION__ACCEPT_PLAIN=true takes what "
                "is older than the encryption"
            )

    def _check_off(self) -> None:
        if self.on:
            raise Broken("it isn't encrypted")

    def sealer(self, name: str = "") -> Sealer | None:
        """
        What encrypts a new file; None: it stays plain. StorageUnavailable: no key can be had.

        With a *name* it can be read under no other.
        """
        if self._provider is None:
            return None
        key = new_key()
        wrapped = self._provider.wrap(key)
        self._remember(wrapped, key)
        return Sealer(header(wrapped, named=bool(name)), key, name=name)

    def stored_size(self, plain_bytes: int) -> int:
        """How long a new file of *plain_bytes* is on the disk."""
        return sealed_size(plain_bytes) if self.on else plain_bytes

    def key_of(self, descriptor: int) -> bytes | None:
        """The key of an open file; None: it is plain. Broken; StorageUnavailable: it can't be unwrapped."""
        found = parsed(os.pread(descriptor, HEADER_BYTES, 0)) if self.on else None
        return self.unwrapped(found.wrapped) if found else None

    def key_in(self, data: bytes) -> bytes:
        """The key of an encrypted file's bytes. Broken; StorageUnavailable: it can't be unwrapped."""
        found = parsed(data[:HEADER_BYTES])
        if found is None:
            raise Broken("it isn't encrypted")
        return self.unwrapped(found.wrapped)

    def hex_key_of(self, descriptor: int) -> str | None:
        """The key of an open file as the codecs' process takes it. StorageUnavailable, also for a broken header."""
        try:
            key = self.key_of(descriptor)
        except Broken as error:
            raise unavailable(str(error)) from error
        return key.hex() if key else None

    def unwrapped(self, wrapped: bytes) -> bytes:
        """A file's key. StorageUnavailable."""
        with self._lock:
            known = self._keys.get(wrapped)
        if known is not None:
            return known
        if self._provider is None:
            raise unavailable("there is no provider of keys (MURMUR_ENCRYPTION__KEY_FILE)")
        key = self._provider.unwrap(wrapped)
        self._remember(wrapped, key)
        return key

    def open(self, path: Path, *, plain: bool = True) -> BinaryIO:
        """
        Open a file for reading, as what it holds. FileNotFoundError.

        Args:
            path: Where it lies.
            plain: Whether it may be plain though new files are encrypted: its reader knows what it must hold.

        Raises:
            StorageUnavailable: its key can't be unwrapped.
            Broken: its header can't be read, or it isn't encrypted; reading may raise it too.
        """
        file = path.open("rb", buffering=0)
        try:
            key = self.key_of(file.fileno())
            if not plain and key is None:
                self._check_off()
        except BaseException:
            file.close()
            raise
        return _SealedFile(cast("BinaryIO", file), key) if key else io.BufferedReader(file)

    def begin(self, file: BinaryIO) -> None:
        """
        Begin an empty file: where new ones are encrypted, so is what others, who get its key, then write into it.

        `so_far` reads it, and `end` closes it up. StorageUnavailable: no key can be had.
        """
        sealer = self.sealer()
        if sealer:
            _write(file, sealer.filled())

    def so_far(self, file: BinaryIO) -> tuple[BinaryIO, int]:
        """What lies in a file that was begun, and its length. Broken."""
        size = os.fstat(file.fileno()).st_size
        key = self.key_of(file.fileno())
        if key is None:
            return file, size
        sealed = _SealedFile(file, key, ended=False)
        return sealed, sealed.size

    def end(self, file: BinaryIO, data: bytes, *, at: int) -> None:
        """Write the last bytes of a file that was begun, behind *at* bytes where it is plain, and sync it. OSError."""
        key = self.key_of(file.fileno())
        if key is None:
            file.seek(at)
            _write(file, data)
        else:
            stored = file.seek(0, os.SEEK_END)
            sealer = Sealer(os.pread(file.fileno(), HEADER_BYTES, 0), key, after=chunks_in(stored))
            _write(file, sealer.feed(data) + sealer.finish())
        os.fsync(file.fileno())

    def create(self, path: Path) -> "Writer":
        """Begin a file for writing, encrypted where new ones are."""
        return Writer(path.open("wb"), self.sealer())

    def _remember(self, wrapped: bytes, key: bytes) -> None:
        with self._lock:
            self._keys[wrapped] = key
            if len(self._keys) > _REMEMBERED:
                self._keys.popitem(last=False)


class _SealedFile(io.BufferedIOBase, BinaryIO):
    """An encrypted file as the one that it was made of: `read`, `seek`, `tell`. Broken: it isn't as it was written."""

    def __init__(self, file: BinaryIO, key: bytes, *, ended: bool = True) -> None:
        self._file = file
        self._owned = ended
        size = os.fstat(file.fileno()).st_size
        self._bytes = SealedBytes(lambda count, at: os.pread(file.fileno(), count, at), size, key, ended=ended)
        self._at = 0

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return self._bytes.size

    def read(self, count: int | None = -1, /) -> bytes:
        """The next bytes, all of the rest by default; none at the end, which is then known to be the end."""
        left = max(0, self._bytes.size - self._at)
        data = self._bytes.pread(left if count is None or count < 0 else count, self._at)
        if not data and count != 0:
            self._bytes.check_end()
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, as files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._bytes.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Let the file go; one that isn't whole yet is its writer's."""
        if self._owned:
            self._file.close()
        super().close()


class Writer:
    """A new file, written from its beginning to its end; use it in a `with`."""

    def __init__(self, file: BinaryIO, sealer: Sealer | None) -> None:
        self._file = file
        self._sealer = sealer

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes. OSError."""
        self._file.write(self._sealer.feed(data) if self._sealer else data)

    def finish(self) -> None:
        """Write the end; nothing may be written after it. OSError."""
        if self._sealer:
            self._file.write(self._sealer.finish())
            self._sealer = None
        self._file.flush()

    def sync(self) -> None:
        """Write the end, and wait until all is on the disk. OSError."""
        self.finish()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write(file: BinaryIO, data: bytes) -> None:
    """All of *data*, also to a file without a buffer. OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


PLAIN = FileEncryption()
"""Encrypts nothing."""


def file_encryption(settings: Settings) -> FileEncryption:
    """What the settings say. ValueError: the keys can't be had."""
    return FileEncryption(open_provider(settings.encryption), accept_plain=settings.encryption.accept_plain)


__all__ = ["PLAIN", "Broken", "FileEncryption", "Writer", "file_encryption"]
