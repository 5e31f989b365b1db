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
from pathlib import Path
from typing import BinaryIO

from murmur.version import __version__
from transcription.encryption.files import FileEncryption, Writer

ABOUT, SUMS = "backup.json", "SHA256SUMS"
BASE, MANIFEST = "appendonlydir/appendonly.aof.1.base.rdb", "appendonlydir/appendonly.aof.manifest"
_BLOCK = 1 << 20
MANIFEST_TEXT = f"file {Path(BASE).name} seq 1 type b\n".encode()


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
        entries.add_bytes(MANIFEST, MANIFEST_TEXT)
        entries.add_directory("blobs")
        for path in sorted(one for one in blobs.rglob("*") if one.is_file() and not one.is_symlink()):
            entries.add_file(f"blobs/{path.relative_to(blobs)}", path)
        sums = "".join(f"{digest}  {name}\n" for name, digest in entries.digests.items())
        entries.add_bytes(SUMS, sums.encode())
    sink.finish()


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
