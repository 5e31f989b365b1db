"""Taking a backup: the ledger's snapshot, the recordings of that moment, both into one archive."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from murmur.backup import archive, links, snapshot
from murmur.backup.errors import BackupFailed
from murmur.backup.verify import Verified, verify
from transcription.encryption.files import FileEncryption
from transcription.settings import Settings

_STAGING = ".backup-"


def stream(settings: Settings, encryption: FileEncryption, target: BinaryIO) -> None:
    """
    Write a backup to *target*, which may be a pipe.

    The recordings are linked right before the snapshot and again right after its moment. One that the snapshot's jobs
    need was there at one of these times: a recording is only deleted a minute after its transcript is complete.

    Raises:
        BackupFailed: the ledger's server gives no snapshot, or another backup of this data directory is being taken.
        OSError: the disk or the pipe.
    """
    with _staging(settings.data_dir) as staging:
        ledger, blobs = staging / "ledger.rdb", staging / "blobs"
        blobs.mkdir()
        hold = not settings.blobs.url

        def held() -> None:
            if hold:
                links.hold(settings.blob_dir, blobs)

        held()
        made_at = time.time()
        with ledger.open("wb") as file:
            snapshot.save(settings.ledger.url.get_secret_value(), file, begun=held)
        archive.write(target, encryption, ledger=ledger, blobs=blobs, made_at=made_at)


def to_file(settings: Settings, encryption: FileEncryption, path: Path) -> Verified:
    """
    Write a backup to *path*, for its owner alone, and read it back; *path* only appears when it was verified.

    Raises:
        BackupFailed: as `stream`, or what was read isn't what was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            stream(settings, encryption, file)
            file.flush()
            os.fsync(file.fileno())
        with part.open("rb") as file:
            found = verify(file, encryption)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise BackupFailed(f"the backup can't be written: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return found


@contextmanager
def _staging(data_dir: Path) -> Iterator[Path]:
    """A directory beside the recordings, so that they can be linked; nobody else takes a backup meanwhile."""
    try:
        lock = os.open(data_dir / f"{_STAGING}lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupFailed(f"the data directory {data_dir} can't be used: {error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupFailed(f"another backup of {data_dir} is being taken") from error
        # What a backup left behind that was killed.
        for left in data_dir.glob(f"{_STAGING}*/"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=_STAGING, ignore_cleanup_errors=True) as staging:
            yield Path(staging)
    finally:
        os.close(lock)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
