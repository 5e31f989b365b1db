"""Scratch: decoded sound on this host's disk, each recording once, however many work on it."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from transcription.encryption.files import PLAIN, FileEncryption
from transcription.media.recording import Recording

POLL_INTERVAL_S = 0.2
_OWN = ".own.part"

SILENCE_S = 60.0
"""How long the one who decodes may stand still before others do it themselves."""


class Draft:
    """A file to decode into; nobody else on this host has it. It ends with the block, and vanishes unless it's kept."""

    def __init__(self, file: BinaryIO, keep: Callable[[Recording], None]) -> None:
        self.file = file
        self.keep = keep
        """Gives the recording its name, whole and on the disk: others may take their spans from it."""


class Scratch:
    """
    The folder; several processes of a host may share it.

    Where files are encrypted, nothing plain comes to the disk: the decoder encrypts what it writes.
    """

    def __init__(self, directory: Path, encryption: FileEncryption = PLAIN) -> None:
        self._directory = directory
        self._encryption = encryption

    def found(self, name: str) -> Recording:
        """A recording that was kept. BlobMissing."""
        return Recording.opened(self._kept(name), self._encryption, name=name)

    def drop(self, name: str) -> None:
        """Delete a recording; who reads it may read on."""
        self._kept(name).unlink(missing_ok=True)

    @contextmanager
    def draft(self, name: str, *, waiting: Callable[[], None]) -> Iterator[Draft]:
        """
        Lend a file for a recording to one at a time on this host.

        Args:
            name: Of the recording.
            waiting: Called a few times a second while another decodes it; what it raises ends the waiting. Afterwards
                the recording may be `found`.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f".{name}.part"
        if not _can_lock(self._directory):
            path = _own(path)
        size, grown_at = -1, time.monotonic()
        while (file := _claimed(path)) is None:
            waiting()
            time.sleep(POLL_INTERVAL_S)
            size, before = _size(path), size
            if size != before:
                grown_at = time.monotonic()
            if time.monotonic() - grown_at > SILENCE_S:
                path = _own(path)
        try:
            self._encryption.begin(file)
            yield Draft(file, partial(self._keep, name, path, file))
        finally:
            with suppress(FileNotFoundError):  # it was kept
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    path.unlink()
            # With it the lock ends; where a decoder outlives this process, not before that has ended too.
            file.close()

    def _keep(self, name: str, path: Path, file: BinaryIO, recording: Recording) -> None:
        self._encryption.end(file, recording.facts(name), at=2 * recording.size)
        path.replace(self._kept(name))
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _kept(self, name: str) -> Path:
        return self._directory / f"{name}.pcm"


def _claimed(path: Path) -> BinaryIO | None:
    """The file at *path*, empty and ours alone; None while it is another's."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o640), "r+b", buffering=0)
    try:
        if not path.name.endswith(_OWN):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock may have given the file another name, or none.
        ours = os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        file.close()
        return None
    file.truncate(0)  # of what one who died in the middle has left
    return file


def _own(path: Path) -> Path:
    """Another name, beside one whose holder stands still: the work is done twice, but never into one file."""
    return path.with_name(f"{path.stem}.{os.getpid()}.{threading.get_ident()}{_OWN}")


def _can_lock(directory: Path) -> bool:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # some network file systems
        return False
    finally:
        os.close(descriptor)
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
