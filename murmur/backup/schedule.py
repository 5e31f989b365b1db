"""Scheduled backups: one after the other, the oldest deleted, each copied to a bucket if one is named."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from redis import Redis

from murmur.backup import take
from murmur.backup.errors import BackupFailed
from murmur.backup.offsite import Bucket
from murmur.backup.verify import Verified
from transcription.encryption.files import FileEncryption
from transcription.errors import LedgerUnavailable, StorageUnavailable
from transcription.ledger import backup_record
from transcription.settings import Settings

log = structlog.get_logger()

RETRY_S = 600.0
# Other files in the directory or the bucket are never deleted.
_NAME = re.compile(r"murmuration-(\d{8}T\d{6}Z)\.tar")
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a scheduled backup needs."""

    settings: Settings
    encryption: FileEncryption
    ledger: Redis

    def run(self, pause: Callable[[float], bool]) -> None:
        """
        Take a backup whenever one is due, until *pause* says so.

        Args:
            pause: Waits so many seconds; whether to stop.
        """
        every_s, retry = self.settings.backup.every_s, False
        made: tuple[Path, Verified] | None = None
        while not pause(min(RETRY_S, every_s) if retry else self.due_in_s()):
            try:
                backup_record.scheduled(self.ledger, every_s)
                # What only wants copying isn't taken again: while a bucket is away the disk would fill with backups.
                if made is None or made[1].made_at + every_s <= time.time():
                    made = self._taken()
                self._settle(*made)
                made, retry = None, False
            except (BackupFailed, LedgerUnavailable, StorageUnavailable, OSError) as error:
                log.error("the backup failed", error=str(error))  # noqa: TRY400  the sentence says it all
                retry = True

    def due_in_s(self) -> float:
        """Seconds until the next backup, by the newest one in the directory; 0: now."""
        newest = max(_backups(path.name for path in self._files()), default=None)
        if newest is None:
            return 0.0
        return max(0.0, _time(newest) + self.settings.backup.every_s - time.time())

    def once(self) -> Verified:
        """Take one, verify it, copy it to the bucket, delete old ones. BackupFailed, LedgerUnavailable."""
        path, found = self._taken()
        self._settle(path, found)
        return found

    def _taken(self) -> tuple[Path, Verified]:
        """A new backup in the directory, verified. BackupFailed, LedgerUnavailable."""
        path = self.settings.backup_dir / f"murmuration-{datetime.now(UTC).strftime(_STAMP)}.tar"
        found = take.to_file(self.settings, self.encryption, path)
        log.info("backup verified", file=str(path), bytes=path.stat().st_size, recordings=found.recordings)
        return path, found

    def _settle(self, path: Path, found: Verified) -> None:
        """Copy a backup to the bucket, and delete old ones. BackupFailed, LedgerUnavailable."""
        settings = self.settings
        old = _old([path.name for path in self._files()], settings.backup.keep)
        if settings.backup.url:
            self._copied(path)
        # Nothing is deleted, and the alert isn't quieted, before this backup is where it should be.
        backup_record.taken(self.ledger, found.made_at)
        for name in old:
            (settings.backup_dir / name).unlink(missing_ok=True)

    def _copied(self, path: Path) -> None:
        bucket = Bucket(self.settings.backup.url, endpoint=self.settings.backup.endpoint)
        bucket.put(path)
        log.info("backup copied", file=path.name, bucket=self.settings.backup.url)
        for name in _old(bucket.names(), self.settings.backup.keep):
            bucket.delete(name)

    def _files(self) -> list[Path]:
        return list(self.settings.backup_dir.glob("murmuration-*.tar"))


def _backups(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if _NAME.fullmatch(name))


def _old(names: list[str], keep: int) -> list[str]:
    return _backups(names)[:-keep]


def _time(name: str) -> float:
    return datetime.strptime(name, f"murmuration-{_STAMP}.tar").replace(tzinfo=UTC).timestamp()
