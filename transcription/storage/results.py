"""Finished results that have left the ledger, under their computation's name: on the disk, or in a bucket."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import obstore
from obstore.exceptions import BaseError

from transcription.encryption.files import Broken, FileEncryption, file_encryption
from transcription.encryption.sealed import MAGIC, SealedBytes
from transcription.errors import ResultLost, StorageUnavailable
from transcription.ports import ResultStore
from transcription.settings import Settings
from transcription.storage.disk import clock, modified, sync_directory
from transcription.storage.part_file import disk_errors
from transcription.storage.s3 import RESULTS, S3Source

_NAME = re.compile(r"[0-9a-f]{8,64}")
_RETRY_AFTER_S = 10


class DiskResults:
    """Results as files: `root/<first two digits>/<computation>`, encrypted as *encryption* has it."""

    def __init__(self, root: Path, encryption: FileEncryption) -> None:
        """Make the directory *root*, which is never made again: where it is gone later, its disk is."""
        self._root = root
        self._encryption = encryption
        with suppress(OSError):  # each write finds it missing
            root.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Keep a result; it is on the disk when this returns. DiskFull, StorageUnavailable."""
        path = self._path(name)
        part = self._root / "parts" / f"{uuid.uuid4().hex}.part"
        with disk_errors():
            for folder in (path.parent, part.parent):
                folder.mkdir(exist_ok=True)  # not the root: a result on the disk below an unmounted one would be lost
            try:
                with part.open("wb") as file:
                    file.write(_sealed(name, data, self._encryption))
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(path)
                sync_directory(path.parent)
            finally:
                part.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """A result. ResultLost, StorageUnavailable."""
        with disk_errors():
            try:
                data = self._path(name).read_bytes()
            except FileNotFoundError as error:
                raise _lost(name, str(self._root)) from error
        return _opened(name, data, self._encryption)

    def delete(self, name: str) -> None:
        """Delete a result; nothing happens when there is none. StorageUnavailable."""
        with disk_errors():
            self._path(name).unlink(missing_ok=True)

    def old(self, *, older_than_s: float) -> Iterator[str]:
        """The results that were written longer ago than that; what was begun then and never ended is deleted."""
        with disk_errors():
            if not self._root.is_dir():
                return
            (self._root / "parts").mkdir(exist_ok=True)
            before = clock(self._root / "parts") - older_than_s
            for path in self._root.glob("parts/*.part"):
                if modified(path) < before:
                    path.unlink(missing_ok=True)
            for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
                if _NAME.fullmatch(path.name) and modified(path) < before:
                    yield path.name

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ResultLost(f"{name[:80]!r} is no computation's name")
        return self._root / name[:2] / name


class BucketResults:
    """Results in the bucket of the recordings, in a folder of their own."""

    def __init__(self, source: S3Source, encryption: FileEncryption) -> None:
        self._source = source
        self._store = source.store
        self._encryption = encryption

    def write(self, name: str, data: bytes) -> None:
        """Keep a result. StorageUnavailable."""
        with self._translated():
            obstore.put(self._store, RESULTS + name, _sealed(name, data, self._encryption))

    def read(self, name: str) -> bytes:
        """A result. ResultLost, StorageUnavailable."""
        with self._translated():
            try:
                data = bytes(obstore.get(self._store, RESULTS + name).bytes())
            except FileNotFoundError as error:
                raise _lost(name, "the bucket") from error
        return _opened(name, data, self._encryption)

    def delete(self, name: str) -> None:
        """Delete a result; nothing happens when there is none. StorageUnavailable."""
        with self._translated():
            try:
                obstore.delete(self._store, RESULTS + name)
            except FileNotFoundError:
                return

    def old(self, *, older_than_s: float) -> Iterator[str]:
        """The results that were written longer ago than that."""
        with self._translated():
            before = self._source.before(older_than_s)
            for page in obstore.list(self._store, prefix=RESULTS):
                for entry in page:
                    if entry["last_modified"] < before:
                        yield entry["path"].rpartition("/")[2]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageUnavailable(
                f"the bucket of the results can't be had: {type(error).__name__}", retry_after_s=_RETRY_AFTER_S
            ) from error


def open_results(settings: Settings) -> ResultStore | None:
    """Where the settings have results go; None for a worker that has its recordings from the API."""
    url, encryption = settings.blobs.url, file_encryption(settings)
    if not url:
        return DiskResults(settings.blob_dir / "results", encryption)
    if url.startswith("s3://"):
        return BucketResults(S3Source(url, endpoint=settings.blobs.endpoint), encryption)
    return None


def _sealed(name: str, data: bytes, encryption: FileEncryption) -> bytes:
    sealer = encryption.sealer(_bound_to(name))
    return data if sealer is None else sealer.feed(data) + sealer.finish()


def _opened(name: str, data: bytes, encryption: FileEncryption) -> bytes:
    if not encryption.on:
        return data
    try:
        if not data.startswith(MAGIC):
            encryption.check_plain()
            return data
        key = encryption.key_in(data)
        sealed = SealedBytes(lambda count, at: data[at : at + count], len(data), key, name=_bound_to(name))
        plain = sealed.pread(sealed.size, 0)
        sealed.check_end()
    except Broken as error:
        raise ResultLost(f"the stored result of computation {name} can't be read: {error}") from error
    return plain


def _bound_to(name: str) -> str:
    """What a result's chunks vouch for, so that it can't be moved to another's name, and no other file to this one."""
    return f"result/{name}"


def _lost(name: str, where: str) -> ResultLost:
    return ResultLost(
        f"the result of computation {name} isn't in {where} any more: restore it from a backup, or submit the "
        "recording again"
    )
