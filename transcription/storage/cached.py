"""Blobs that live elsewhere, with the ones in use on this machine's disk."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Protocol

from transcription.encryption.files import PLAIN
from transcription.encryption.sealed import MAGIC
from transcription.errors import BlobDamaged, BlobMissing, StorageUnavailable
from transcription.storage.disk import DiskBlobs, DiskUpload, blob_path
from transcription.storage.pages import Held
from transcription.storage.part_file import disk_errors
from transcription.storage.room import Promise
from transcription.storage.verify import verify

RETRY_AFTER_S = 10
OPENED_WITHIN_S = 60.0


class Source(Protocol):
    """Where blobs live. Everything may raise StorageUnavailable."""

    def read(self, sha256: str) -> Iterator[bytes]:
        """The blob's bytes, a piece at a time. BlobMissing."""

    def write(self, sha256: str, path: Path) -> None:
        """Keep the bytes of *path*; they are durable when this returns. The same bytes again count as new."""

    def set_aside(self, sha256: str) -> None:
        """Look whether a blob is damaged, and take it out of use; what writes over it mends it as well."""

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob that came in longer ago than that; nothing happens when there is none."""

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        """Delete older blobs that nobody holds; how many."""


class CachedUpload(DiskUpload):
    """A file on its way in: on the disk first, and then in the source."""

    def __init__(self, disk: DiskBlobs, promise: Promise, keep: Callable[[str], None]) -> None:
        super().__init__(disk.root, promise, disk.encryption, threads=disk.threads)
        self._keep_elsewhere = keep

    async def commit(self) -> str:
        """Make the file durable in the source and return its SHA-256. DiskFull, StorageUnavailable."""
        sha256 = await super().commit()
        await self._beside(lambda: self._keep_elsewhere(sha256))
        return sha256


class CachedBlobs:
    """
    A BlobStore over a source.

    Args:
        disk: Holds what has been written or fetched here lately; every process of a machine may share it.
        source: Where the blobs live.
        cache_bytes: What the disk may hold; what wasn't asked for longest goes first.
    """

    def __init__(self, disk: DiskBlobs, source: Source, *, cache_bytes: int) -> None:
        self._disk = disk
        self._source = source
        self._cache_bytes = cache_bytes

    def upload(self, *, expected_bytes: int = 0) -> CachedUpload:
        """Begin to receive a file."""
        promise = self._disk.room.promise(expected_bytes)
        return CachedUpload(self._disk, promise, self.keep)

    def check(self, sha256: str) -> None:
        """Compare a blob with its name, and set it aside if it is another file. BlobMissing, BlobDamaged."""
        verify(self.fetch(sha256), sha256, damaged=self.set_aside, encryption=self._disk.encryption)

    def promised_bytes(self) -> int:
        """What uploads that are under way have yet to bring, as far as they have said."""
        return self._disk.promised_bytes()

    def keep(self, sha256: str) -> None:
        """Take a blob of the disk into the source."""
        self._source.write(sha256, self._disk.fetch(sha256))
        self._prune()

    def fetch(self, sha256: str, *, progressed: Callable[[], None] = lambda: None) -> Path:
        """
        Find or bring the blob of a SHA-256.

        Args:
            sha256: Its name.
            progressed: Called with every piece that comes; what it raises ends the transfer.

        Raises:
            BlobMissing, StorageUnavailable: the source doesn't have it, or gives nothing now.
            DiskFull: there is no room for it here.
        """
        target = blob_path(self._disk.root, sha256)
        with suppress(FileNotFoundError):
            os.utime(target)
            return target
        part = self._disk.root / "parts" / f"{uuid.uuid4().hex}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with disk_errors():
                self._bring(sha256, part, progressed)
            target.parent.mkdir(exist_ok=True)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        self._prune(besides=target)
        return target

    def set_aside(self, sha256: str) -> None:
        """Take a damaged copy out of use: the next fetch brings another."""
        self._disk.set_aside(sha256)

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob that came in longer ago than that; nothing happens when there is none."""
        self._source.discard(sha256, older_than_s=older_than_s)
        self._disk.discard(sha256, older_than_s=older_than_s)

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        """Delete what nobody holds, in the source and here; how many."""
        here = self._disk.sweep(older_than_s=older_than_s, held=held)
        return here + self._source.sweep(older_than_s=older_than_s, held=held)

    def old(self, *, older_than_s: float) -> list[str]:
        """The copies here that are older than that; uploads that began then and never ended are deleted."""
        return self._disk.old(older_than_s=older_than_s)

    def _bring(self, sha256: str, part: Path, progressed: Callable[[], None]) -> None:
        # What comes encrypted stays so; what comes plain is encrypted here, if anything is.
        encryption, digest = self._disk.encryption, hashlib.sha256()
        chunks = self._source.read(sha256)
        first = next(chunks, b"")
        sealed = encryption.on and first.startswith(MAGIC)
        with (PLAIN if sealed else encryption).create(part) as file:
            for chunk in chain((first,), chunks):
                digest.update(chunk)
                file.write(chunk)
                progressed()
            file.finish()
        if sealed:
            verify(part, sha256, damaged=self._source.set_aside, progressed=progressed, encryption=encryption)
        elif digest.hexdigest() != sha256:
            self._source.set_aside(sha256)
            raise BlobDamaged(f"what came for audio {sha256} isn't that audio: its SHA-256 is {digest.hexdigest()}")

    def _prune(self, besides: Path | None = None) -> None:
        # What was asked for lately may not have been opened yet. What is open stays readable.
        files = [path for path in self._disk.root.glob("[0-9a-f][0-9a-f]/*") if path != besides]
        with suppress(FileNotFoundError):
            stats = sorted(((path.stat(), path) for path in files), key=lambda pair: -pair[0].st_mtime)
            room = self._cache_bytes - (besides.stat().st_size if besides else 0)
            for stat, path in stats:
                room -= stat.st_size
                if room < 0 and stat.st_mtime < time.time() - OPENED_WITHIN_S:
                    path.unlink(missing_ok=True)


def missing(sha256: str, where: str) -> BlobMissing:
    """The error for a blob that a source doesn't have."""
    return BlobMissing(f"audio {sha256} isn't in {where}; was it deleted?")


def unavailable(where: str, reason: str) -> StorageUnavailable:
    """The error for a source that gives nothing now. Clients see it: no addresses, and no signatures, in *reason*."""
    return StorageUnavailable(f"{where} can't be had: {reason}", retry_after_s=RETRY_AFTER_S)
