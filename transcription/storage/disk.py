"""Uploaded bytes on a disk, local or shared, under their SHA-256."""

import asyncio
import os
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import aiofiles.threadpool
import structlog

from transcription.encryption.files import PLAIN, FileEncryption
from transcription.errors import BlobMissing
from transcription.storage.pages import Held, pages
from transcription.storage.part_file import PartFile, disk_errors
from transcription.storage.room import DiskRoom, Promise
from transcription.storage.verify import verify

log = structlog.get_logger()

T = TypeVar("T")

_BUFFER_BYTES = 1 << 20
_THREADS = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DiskUpload:
    """
    A file on its way in: one `.part` file, hashed while it is written.

    Hashing and writing happen beside the event loop, a buffer at a time, while the next buffer fills; so at most two
    buffers of 1 MiB are in memory however large the file is.
    """

    def __init__(
        self, root: Path, promise: Promise, encryption: FileEncryption = PLAIN, *, threads: Executor | None = None
    ) -> None:
        """*threads*: those that touch the disk; by default the loop's own."""
        self.size = 0
        self._encryption = encryption
        self._root = root
        self._threads = threads
        self._part = PartFile(root / "parts" / f"{uuid.uuid4().hex}.part", promise, encryption)
        self._file = aiofiles.threadpool.wrap(self._part, executor=threads)
        self._written = 0
        self._buffer = bytearray()
        self._spilling: asyncio.Future[None] | None = None

    async def write(self, chunk: bytes) -> None:
        """Add bytes. DiskFull, for these bytes or for earlier ones."""
        self.size += len(chunk)
        self._buffer += chunk
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._spilled()
            self._spilling = asyncio.ensure_future(self._spill())

    async def path(self) -> Path:
        """A local path with all bytes so far; it is good until commit or abort. DiskFull."""
        await self._spilled()
        if self._buffer or not self._written:
            await self._spill()
        if self._encryption.on:
            await self._file.flush()
        return self._part.path

    def sha256(self) -> str:
        """The SHA-256 of the bytes so far; of all of them after `path`."""
        return self._part.sha256

    async def commit(self) -> str:
        """Make the file durable under its SHA-256 and return that. DiskFull."""
        await self.path()
        return await self._beside(self._keep)

    async def abort(self) -> None:
        """Leave nothing behind; does nothing after a commit."""
        self._buffer.clear()
        if self._spilling is not None:
            await asyncio.wait({self._spilling})
            self._spilling.exception()
            self._spilling = None
        if not self._part.closed:
            await self._beside(self._drop)

    async def _beside(self, action: Callable[[], T]) -> T:
        """Do something slow beside the event loop, where the disk may hang."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, action)

    async def _spilled(self) -> None:
        if self._spilling is not None:
            spilling, self._spilling = self._spilling, None
            await spilling

    async def _spill(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        self._written += await self._file.write(data)

    def _keep(self) -> str:
        sha256 = self._part.sha256
        target = blob_path(self._root, sha256)
        with self._part.lock, disk_errors():
            descriptor = self._part.fileno()
            try:
                if target.stat().st_size != self._encryption.stored_size(
                    self.size
                ):  # it was cut, or grew: what lies there isn't this recording
                    set_aside(self._root, sha256)
                # A fresh time keeps the sweeper away until the ledger knows the job.
                os.utime(target)
                self._part.path.unlink()
            except FileNotFoundError:
                os.fsync(descriptor)
                if not target.parent.exists():
                    make_folders(self._root)
                self._part.path.rename(target)
                sync_directory(target.parent)
            self._part.close()
        return sha256

    def _drop(self) -> None:
        # A disk that is away keeps the part file for the sweeper; whatever ended the upload is what its client hears.
        with self._part.lock, suppress(OSError):
            self._part.close()
            self._part.path.unlink(missing_ok=True)


class DiskBlobs:
    """
    Blobs as files: `root/<first two digits>/<sha256>`, and `root/parts/` for what is still coming in.

    Several hosts may share *root* over a network file system: every step that others can see is one rename. Uploads
    leave *floor_bytes* of the disk free, and are encrypted as *encryption* has it. They have threads of their own: a
    share that hangs stops uploads, and nothing else that waits for a thread.
    """

    def __init__(self, root: Path, *, floor_bytes: int = 0, encryption: FileEncryption = PLAIN) -> None:
        self.root = root
        self.encryption = encryption
        self.room = DiskRoom(root, floor_bytes=floor_bytes)
        self.threads = ThreadPoolExecutor(_THREADS, "disk")

    def upload(self, *, expected_bytes: int = 0) -> DiskUpload:
        """Begin to receive a file; it touches the disk with its first full buffer."""
        return DiskUpload(self.root, self.room.promise(expected_bytes), self.encryption, threads=self.threads)

    def promised_bytes(self) -> int:
        """What uploads that are under way have yet to bring, as far as they have said."""
        return self.room.promised_bytes

    def fetch(self, sha256: str, *, progressed: Callable[[], None] | None = None) -> Path:  # noqa: ARG002  it's here
        """A local path with the blob's bytes. BlobMissing."""
        path = blob_path(self.root, sha256)
        if not path.is_file():
            log.warning("a recording is missing", sha256=sha256, directory=str(self.root))
            raise BlobMissing(
                f"audio {sha256} isn't stored here; was it deleted, or does this host not share the disk?"
            )
        return path

    def set_aside(self, sha256: str) -> None:
        """Take a damaged blob out of use; the next upload of the recording replaces it."""
        set_aside(self.root, sha256)

    def check(self, sha256: str) -> None:
        """Compare a blob with its name, and set it aside if it is another file. BlobMissing, BlobDamaged."""
        verify(self.fetch(sha256), sha256, damaged=self.set_aside, encryption=self.encryption)

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob, unless it came in later than that: a job for it may be on its way to the ledger."""
        path = blob_path(self.root, sha256)
        before = self._clock() - older_than_s
        if modified(path) < before:
            self._remove(path, before)

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        """
        Delete uploads that were never finished, and blobs that nobody holds.

        Args:
            older_than_s: Age below which nothing is touched: its job may not be in the ledger yet.
            held: Which of a page of SHA-256s any job still needs.

        Returns:
            How many files were deleted.
        """
        before = self._clock() - older_than_s
        stale = self._sweep_parts(before)
        for page in pages(self._older(before)):
            needed = held([path.name for path in page])
            stale += sum(self._remove(path, before) for path in page if path.name not in needed)
        return stale

    def old(self, *, older_than_s: float) -> list[str]:
        """The blobs that came in longer ago than that; uploads that began then and never ended are deleted."""
        before = self._clock() - older_than_s
        self._sweep_parts(before)
        return [path.name for path in self._older(before)]

    def _clock(self) -> float:
        parts = self.root / "parts"
        if self.root.is_dir():
            with suppress(OSError):
                parts.mkdir(exist_ok=True)
        return clock(parts)

    def _sweep_parts(self, before: float) -> int:
        stale = [path for path in self.root.glob("parts/*") if modified(path) < before]
        stale += [path for path in self.root.glob("damaged/*") if modified(path) < before]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _older(self, before: float) -> Iterator[Path]:
        blobs = (path for path in self.root.glob("[0-9a-f][0-9a-f]/*") if _SHA256.fullmatch(path.name))
        return (path for path in blobs if modified(path) < before)

    def _remove(self, path: Path, before: float) -> bool:
        """Delete a blob, unless the same bytes have been uploaded again since it was looked at."""
        doomed = self.root / "parts" / f"{path.name}.doomed"
        doomed.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            path.rename(doomed)
            if modified(doomed) >= before:
                doomed.rename(path)
                return False
            doomed.unlink()
            return True
        return False


def blob_path(root: Path, sha256: str) -> Path:
    """Where the blob of a SHA-256 lies under *root*. BlobMissing: it's no SHA-256."""
    if not _SHA256.fullmatch(sha256):
        raise BlobMissing(f"{sha256[:80]!r} is no SHA-256: 64 hexadecimal digits in lower case")
    return root / sha256[:2] / sha256


def make_folders(root: Path) -> None:
    """Make all folders for blobs at once: a new one must be durable, which costs an upload as much as its bytes do."""
    for number in range(256):
        (root / f"{number:02x}").mkdir(exist_ok=True)
    sync_directory(root)


def set_aside(root: Path, sha256: str) -> None:
    """Move a damaged blob to `root/damaged`, where it is kept for as long as files that nobody needs."""
    aside = root / "damaged" / f"{sha256}.{uuid.uuid4().hex[:8]}"
    aside.parent.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        blob_path(root, sha256).rename(aside)
        os.utime(aside)


def clock(folder: Path) -> float:
    """
    The time by the clock that stamps files in *folder*, in Unix seconds: this host's own may be hours off, and what is
    being uploaded would look old to it. Minus infinity where nothing can be written, so that nothing seems old there.
    """
    stamped = folder / f".clock-{uuid.uuid4().hex}"
    try:
        stamped.touch(exist_ok=False)
        try:
            return stamped.stat().st_mtime
        finally:
            stamped.unlink(missing_ok=True)
    except OSError:
        return float("-inf")


def modified(path: Path) -> float:
    """When the file was last written; the end of time when somebody else has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk. OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
