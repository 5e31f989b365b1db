"""Reading a backup that may be anything: damaged, cut, forged, or no backup at all."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from murmur.backup.archive import ABOUT, BASE, MANIFEST, MANIFEST_TEXT, SUMS
from murmur.backup.errors import BackupFailed
from murmur.backup.members import Member, members
from transcription.encryption.files import FileEncryption
from transcription.encryption.sealed import Broken
from transcription.encryption.stream import plain
from transcription.errors import StorageUnavailable

_FOLDERS = ("appendonlydir", "blobs")
_MOST_ABOUT_BYTES = 65_536
_LATEST = 1e11
"""Unix seconds, in the year 5138: what is beyond is no time."""

_RDB_STARTS = (b"REDIS", b"VALKEY")
_RDB_END, _RDB_TAIL_BYTES = 0xFF, 9  # the opcode of the end, and eight bytes of checksum


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive that is whole; ``made_at`` in Unix seconds, ``content_bytes`` without tar's own."""

    made_at: float
    recordings: int
    content_bytes: int


def verify(source: BinaryIO, encryption: FileEncryption) -> Verified:
    """
    Read all of an archive and compare it with its checksums.

    Raises:
        BackupFailed: it was changed or cut, isn't ours, or needs another key.
    """
    with _opened(source, encryption) as tar:
        return _verified(tar)


def check_earlier(source: BinaryIO, encryption: FileEncryption) -> None:
    """
    Read one of the two files of an earlier version's backup, which have no checksums.

    Raises:
        BackupFailed: it is cut, needs another key, or holds anything but files and directories of its own.
    """
    with _opened(source, encryption) as tar:
        found = [member.name for member in members(tar)]
    if not found or any(name.partition("/")[0] not in _FOLDERS for name in found):
        raise BackupFailed("the file is no part of an earlier version's backup")


@contextmanager
def _opened(source: BinaryIO, encryption: FileEncryption) -> Iterator[BinaryIO]:
    pieces = _Source(plain(source, encryption))
    try:
        yield pieces
        pieces.check_end()
    except (tarfile.TarError, Broken, ValueError, RecursionError, StorageUnavailable) as error:
        raise BackupFailed(f"the backup can't be read: {error}") from error


def _verified(tar: BinaryIO) -> Verified:
    digests: dict[str, str] = {}
    small: dict[str, bytes] = {}
    content_bytes = sums_bytes = 0
    for member in members(tar):
        if member.is_directory:
            _check_place(member)
            continue
        if member.name in digests:
            raise BackupFailed(f"the backup holds {member.name} twice")
        limits = {ABOUT: _MOST_ABOUT_BYTES, MANIFEST: len(MANIFEST_TEXT), SUMS: sums_bytes}
        if member.name not in limits:
            _check_place(member)
        elif member.size > limits[member.name]:
            raise BackupFailed(
                f"the backup's {member.name} has {member.size} bytes, and may have {limits[member.name]}"
            )
        digests[member.name], content = _digest(member, keep=member.name in limits)
        if member.name in limits:
            small[member.name] = content
        content_bytes += member.size
        sums_bytes += len(f"{digests[member.name]}  {member.name}\n")
    return Verified(*_compared(digests, small), content_bytes)


def _check_place(member: Member) -> None:
    known = member.name in _FOLDERS if member.is_directory else member.name == BASE
    if not known and not member.name.startswith("blobs/"):
        raise BackupFailed(f"the backup holds what none of ours does: {member.name}")


def _digest(member: Member, *, keep: bool) -> tuple[str, bytes]:
    """A member's SHA-256, and what it holds where that is to be kept."""
    digest, head, tail, kept = hashlib.sha256(), b"", b"", b""
    for data in member.pieces:
        digest.update(data)
        head = head or data[:16]
        tail = (tail + data)[-_RDB_TAIL_BYTES:]
        kept += data if keep else b""
    if member.name == BASE and not (head.startswith(_RDB_STARTS) and tail[:1] == bytes([_RDB_END])):
        raise BackupFailed("the backup's snapshot of the ledger isn't one that Redis reads")
    return digest.hexdigest(), kept


def _compared(digests: dict[str, str], small: dict[str, bytes]) -> tuple[float, int]:
    """When the backup was made, and how many recordings it has. BackupFailed: it isn't as it was written."""
    if SUMS not in small:
        raise BackupFailed("the backup is cut off: it has no checksums at its end")
    del digests[SUMS]
    listed = (line.partition("  ") for line in small[SUMS].decode().splitlines())
    expected = {name: digest for digest, _, name in listed}
    wrong = sorted(name for name in expected.keys() | digests.keys() if expected.get(name) != digests.get(name))
    if wrong or not {ABOUT, BASE, MANIFEST} <= expected.keys():
        raise BackupFailed(f"the backup isn't as it was written: {', '.join(wrong[:5]) or 'a part is missing'}"[:500])
    if small[MANIFEST] != MANIFEST_TEXT:
        raise BackupFailed(f"the backup's {MANIFEST} isn't ours")
    return _made_at(small[ABOUT]), sum(name.startswith("blobs/") for name in expected)


def _made_at(about: bytes) -> float:
    found = json.loads(about)
    at = found.get("made_at") if isinstance(found, dict) else None
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < _LATEST:
        raise BackupFailed(f"the backup's {ABOUT} doesn't say when it was made")
    return float(at)


class _Source(io.RawIOBase, BinaryIO):
    """What tar reads from: pieces of any length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = bytearray()

    def read(self, count: int = -1, /) -> bytes:
        while count < 0 or len(self._rest) < count:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        count = len(self._rest) if count < 0 else count
        data = bytes(self._rest[:count])
        del self._rest[:count]
        return data

    def check_end(self) -> None:
        """Make sure that nothing follows; so a wrong last chunk is found too. BackupFailed."""
        if self.read(1):
            raise BackupFailed("the backup goes on behind its end")
