"""
One file that holds a backup: a tar, encrypted where the settings name keys.

    backup.json                               when it was made, and by which version
    appendonlydir/appendonly.aof.1.base.rdb   the ledger, as the base of an append-only file
    appendonlydir/appendonly.aof.manifest     what Redis reads first
    blobs/ab/ab…                              recordings, as they are stored
    SHA256SUMS                                of all of the above; the last, so an archive that was cut has none
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from murmur.backup.errors import BackupFailed
from murmur.version import __version__
from transcription.encryption.files import FileEncryption, Writer
from transcription.encryption.sealed import Broken
from transcription.encryption.stream import plain
from transcription.errors import StorageUnavailable

ABOUT, SUMS = "backup.json", "SHA256SUMS"
BASE, MANIFEST = "appendonlydir/appendonly.aof.1.base.rdb", "appendonlydir/appendonly.aof.manifest"
_BLOCK = 1 << 20
_RDB_STARTS = (b"REDIS", b"VALKEY")
_RDB_END, _RDB_TAIL_BYTES = 0xFF, 9  # the opcode of the end, and eight bytes of checksum


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive that is whole; ``made_at`` in Unix seconds, ``content_bytes`` without tar's own."""

    made_at: float
    recordings: int
    content_bytes: int


def write(target: BinaryIO, encryption: FileEncryption, *, ledger: Path, blobs: Path, made_at: float) -> None:
    """
    Write an archive. OSError.

    Args:
        target: Where to; it needn't be a file that can be sought in.
        encryption: Of the archive as a whole.
        ledger: The snapshot.
        blobs: Directory of the recordings, none of which changes any more.
        made_at: The snapshot's time, Unix seconds.
    """
    sink = Writer(target, encryption.sealer())
    with tarfile.open(fileobj=_Sink(sink), mode="w|", bufsize=_BLOCK) as tar:
        entries = _Entries(tar, int(made_at))
        entries.add_bytes(ABOUT, json.dumps({"made_at": made_at, "version": __version__}).encode())
        entries.add_directory("appendonlydir")
        entries.add_file(BASE, ledger)
        entries.add_bytes(MANIFEST, f"file {Path(BASE).name} seq 1 type b\n".encode())
        entries.add_directory("blobs")
        for path in sorted(one for one in blobs.rglob("*") if one.is_file()):
            entries.add_file(f"blobs/{path.relative_to(blobs)}", path)
        sums = "".join(f"{digest}  {name}\n" for name, digest in entries.digests.items())
        entries.add_bytes(SUMS, sums.encode())
    sink.finish()


def verify(source: BinaryIO, encryption: FileEncryption) -> Verified:
    """
    Read all of an archive and compare it with its checksums.

    Raises:
        BackupFailed: it was changed or cut, or needs another key.
    """
    pieces = _Source(plain(source, encryption))
    try:
        with tarfile.open(fileobj=pieces, mode="r|", bufsize=_BLOCK) as tar:
            found = _verified(tar)
        pieces.drain()
    except (tarfile.TarError, Broken, EOFError, ValueError, StorageUnavailable) as error:
        raise BackupFailed(f"the backup can't be read: {error}") from error
    return found


def _verified(tar: tarfile.TarFile) -> Verified:
    digests: dict[str, str] = {}
    small: dict[str, bytes] = {}
    content_bytes = 0
    for member in tar:
        reader = tar.extractfile(member)
        if reader is None:
            continue
        digest, head, tail = hashlib.sha256(), b"", b""
        while data := reader.read(_BLOCK):
            digest.update(data)
            content_bytes += len(data)
            head = head or data[:16]
            tail = (tail + data)[-_RDB_TAIL_BYTES:]
            if member.name in (ABOUT, MANIFEST, SUMS):
                small[member.name] = small.get(member.name, b"") + data
        digests[member.name] = digest.hexdigest()
        if member.name == BASE and not (head.startswith(_RDB_STARTS) and tail[:1] == bytes([_RDB_END])):
            raise BackupFailed("the backup's snapshot of the ledger isn't one that Redis reads")
    if SUMS not in small:
        raise BackupFailed("the backup is cut off: it has no checksums at its end")
    del digests[SUMS]
    listed = (line.split("  ", 1) for line in small[SUMS].decode().splitlines())
    expected = {name: digest for digest, name in listed}
    wrong = sorted(name for name in expected.keys() | digests.keys() if expected.get(name) != digests.get(name))
    if wrong or not {ABOUT, BASE, MANIFEST} <= expected.keys():
        raise BackupFailed(f"the backup isn't as it was written: {', '.join(wrong[:5]) or 'a part is missing'}")
    recordings = sum(name.startswith("blobs/") for name in expected)
    return Verified(float(json.loads(small[ABOUT])["made_at"]), recordings, content_bytes)


class _Entries:
    """Adds members to a tar, each with its checksum."""

    def __init__(self, tar: tarfile.TarFile, at: int) -> None:
        self.digests: dict[str, str] = {}
        self._tar = tar
        self._at = at

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self._add(name, os.fstat(file.fileno()).st_size, file)

    def add_bytes(self, name: str, data: bytes) -> None:
        self._add(name, len(data), io.BytesIO(data))

    def add_directory(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mtime, info.mode = tarfile.DIRTYPE, self._at, 0o700
        self._tar.addfile(info)

    def _add(self, name: str, size: int, file: BinaryIO) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._at, 0o600
        hashed = _Hashed(file)
        self._tar.addfile(info, hashed)
        self.digests[name] = hashed.digest.hexdigest()


class _Hashed(io.RawIOBase, BinaryIO):
    """A file whose content is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, count: int = -1, /) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        return data


class _Sink(io.RawIOBase, BinaryIO):
    """What tar writes to."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._writer.write(data)
        return len(data)


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

    def drain(self) -> None:
        """Read to the end, so that a wrong last chunk is found too."""
        while next(self._pieces, b""):
            pass
