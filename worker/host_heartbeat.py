"""
One heartbeat for all workers of a host.

Each worker leaves what it has to say in a file; the one that holds the folder's lock tells the ledger for all of them.
The lock is the kernel's, so that another worker has it the moment its holder is dead. A worker that isn't told of (the
holder hangs, or the folder can't be written) speaks for itself, as every worker does the first time.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import structlog

from transcription.ports import WorkerInfo
from worker.health_check import temporary_folder

log = structlog.get_logger()

_TUPLES = {field.name for field in fields(WorkerInfo) if "tuple" in str(field.type)}


class HostHeartbeat:
    """
    A worker's part in its host's heartbeat.

    Args:
        ledger: The ledger's URL: workers of different platforms have nothing in common.
        every_s: Time between two heartbeats.
        register: Tells the ledger of one worker. NameTaken, LedgerUnavailable.
        register_all: Tells it of many that it knows; those that must speak for themselves. LedgerUnavailable.
    """

    def __init__(
        self,
        ledger: str,
        *,
        every_s: float,
        register: Callable[[WorkerInfo], object],
        register_all: Callable[[Iterable[WorkerInfo]], frozenset[str]],
    ) -> None:
        name = hashlib.blake2b(ledger.encode(), digest_size=8).hexdigest()
        self._folder = temporary_folder() / f"murmur-workers-{os.getuid()}-{name}"
        self._every_s = every_s
        self._register = register
        self._register_all = register_all
        self._lock: int | None = None
        self._known = False

    def beat(self, info: WorkerInfo) -> None:
        """Have the ledger told that this worker lives. NameTaken, LedgerUnavailable."""
        try:
            told = self._known and self._told(info)
        except (OSError, ValueError) as error:
            log.warning("the host's heartbeat can't be shared", error=str(error))
            told = False
        if not told:
            self._register(info)
            self._known = True

    def end(self, name: str) -> None:
        """Take the file away: the worker has left."""
        with suppress(OSError):
            self._file(name).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _told(self, info: WorkerInfo) -> bool:
        """Whether somebody tells, or told, the ledger of this worker."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._folder} is somebody else's")
        _write(self._file(info.id), orjson.dumps(info))
        if not self._leads():
            return self._spoken_for(info)
        mates = [one for one in self._mates() if one.id != info.id]
        refused = self._register_all([info, *mates])
        _write(self._folder / "told", orjson.dumps({one.id: one.started_at for one in mates if one.id not in refused}))
        return info.id not in refused

    def _leads(self) -> bool:
        if self._lock is None:
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return True

    def _spoken_for(self, info: WorkerInfo) -> bool:
        told = self._folder / "told"
        with suppress(FileNotFoundError):
            fresh = time.time() - told.stat().st_mtime < 1.5 * self._every_s
            return fresh and orjson.loads(told.read_bytes()).get(info.id) == info.started_at
        return False

    def _mates(self) -> Iterable[WorkerInfo]:
        for path in self._folder.glob("*.json"):
            with suppress(OSError, ValueError, TypeError):
                if time.time() - path.stat().st_mtime < 1.5 * self._every_s:
                    raw: dict[str, Any] = orjson.loads(path.read_bytes())
                    read: dict[str, Any] = {key: tuple(raw[key]) if key in _TUPLES else raw[key] for key in raw}
                    yield WorkerInfo(**read)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '_')}.json"


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
