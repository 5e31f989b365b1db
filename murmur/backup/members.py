"""
The members of a tar that nobody vouches for yet: ordinary files and directories under plain names, one after the other.

`tarfile` would take whatever a header says: hold a header of gigabytes in memory, fill a sparse file up with zeros, or
follow one name to another file. All that a backup never has is refused here, and what is read is bounded.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from murmur.backup.errors import BackupFailed

BLOCK_BYTES = 1 << 20
_UNIT = tarfile.BLOCKSIZE
_MOST_NOTES_BYTES = 8192
_MOST_PADDING_BYTES = BLOCK_BYTES
_HARMLESS_NOTES = (b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname")
_PART = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a member with a name of more than 100 bytes",
    tarfile.GNUTYPE_LONGLINK: "a link",
    tarfile.XGLTYPE: "a note that holds for all members",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file or a directory; its ``pieces``, a mebibyte each at most, are good until the next member is asked for."""

    name: str
    size: int
    is_directory: bool
    pieces: Iterator[bytes]


def members(source: BinaryIO) -> Iterator[Member]:
    """
    Go through a tar from its beginning to its end.

    Raises:
        BackupFailed: it is cut off, or holds what a backup never does.
        tarfile.TarError: a header that none is.
    """
    size: int | None = None
    while header := source.read(_UNIT):
        if header == bytes(_UNIT):
            _check_padding(source)
            return
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if found.type == tarfile.XHDTYPE and size is None:
            size = _size_in(_notes(source, found.size))
            continue
        member = Member(_checked(found), found.size if size is None else size, found.isdir(), iter(()))
        if member.size < 0 or (member.is_directory and member.size):
            raise BackupFailed(f"the backup holds a member of {member.size} bytes, which can't be: {member.name}")
        pieces = _pieces(source, member.size, member.name)
        yield Member(member.name, member.size, member.is_directory, pieces)
        for _ in pieces:  # what its reader left
            pass
        size = None


def _pieces(source: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    left = size
    while left:
        data = source.read(min(BLOCK_BYTES, left))
        if not data:
            raise BackupFailed(f"the backup is cut off in {name}")
        left -= len(data)
        yield data
    padding = -size % _UNIT
    if len(source.read(padding)) < padding:
        raise BackupFailed(f"the backup is cut off behind {name}")


def _checked(found: tarfile.TarInfo) -> str:
    """The member's name. BackupFailed: it isn't one that a backup has, or another kind of member."""
    shown = ascii(found.name[:200])
    if not (found.isdir() or found.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        kind = _KINDS.get(found.type, f"a member of the unknown kind {found.type!r}")
        raise BackupFailed(f"the backup holds {kind}, as none of ours does: {shown}")
    parts = found.name.split("/")
    if any(part in (".", "..") or not _PART.fullmatch(part) for part in parts):
        raise BackupFailed(f"the backup holds a name that leads elsewhere, or that none of ours has: {shown}")
    return found.name


def _notes(source: BinaryIO, size: int) -> dict[bytes, bytes]:
    """What stands before a member of more than 8 GiB: its size; other tars also note times and owners."""
    if not 0 <= size <= _MOST_NOTES_BYTES:
        raise BackupFailed(f"the backup holds notes on a member of {size} bytes; the limit is {_MOST_NOTES_BYTES}")
    text = b"".join(_pieces(source, size, "notes on a member"))
    notes = {}
    while text:
        length = int(text[: max(0, text.find(b" "))] or b"0")
        record, text = text[:length], text[length:]
        name, equals, value = record.partition(b" ")[2].partition(b"=")
        if not (length and equals and value.endswith(b"\n")):
            raise BackupFailed("the backup holds notes on a member that can't be read")
        notes[name] = value[:-1]
    return notes


def _size_in(notes: dict[bytes, bytes]) -> int | None:
    strange = sorted(set(notes) - {b"size", *_HARMLESS_NOTES})
    if strange:
        raise BackupFailed(f"the backup holds notes on a member, as none of ours does: {strange[0][:40]!r}")
    return int(notes[b"size"]) if b"size" in notes else None


def _check_padding(source: BinaryIO) -> None:
    rest = source.read(_MOST_PADDING_BYTES + 1)
    if len(rest) > _MOST_PADDING_BYTES or rest.count(0) != len(rest):
        raise BackupFailed("the backup goes on behind its end")
