"""Backups that nobody of ours wrote: each is refused with a sentence, soon, and without much memory."""

import hashlib
import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from murmur.backup import archive, members
from murmur.backup.archive import ABOUT, BASE, MANIFEST, SUMS
from murmur.backup.errors import BackupFailed
from murmur.backup.verify import check_earlier, verify
from murmur.cli.main import app as cli
from tests.unit.test_encryption import key_file
from transcription.encryption.files import PLAIN, file_encryption
from transcription.settings import Encryption, Settings

RDB = b"REDIS0011" + bytes(100) + b"\xff" + bytes(8)
SHA = "ab" * 32
GIB = 1 << 30
FILE = f"blobs/ab/{SHA}"

Change = Callable[[dict[str, bytes]], None]


def packed(contents: dict[str, bytes], *strange: tuple[tarfile.TarInfo, bytes], sums: str | None = None) -> bytes:
    """An archive with good checksums of *contents*; the *strange* members come before those."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in contents.items():
            (info := tarfile.TarInfo(name)).size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info, data in strange:
            tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))  # type: ignore[union-attr]
        lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items())
        listed = (lines if sums is None else sums).encode()
        (info := tarfile.TarInfo(SUMS)).size = len(listed)
        tar.addfile(info, io.BytesIO(listed))
    return out.getvalue()


def good() -> dict[str, bytes]:
    about = json.dumps({"made_at": 1.5e9, "version": "1"}).encode()
    return {ABOUT: about, BASE: RDB, MANIFEST: archive.MANIFEST_TEXT, FILE: b"words"}


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def notes(**values: str) -> tuple[tarfile.TarInfo, bytes]:
    text = b""
    for name, value in values.items():
        rest = f" {name.replace('__', '.')}={value}\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length += 1
        text += f"{length}{rest}".encode()
    return member("notes", tarfile.XHDTYPE, len(text)), text


def test_what_these_tests_change_is_whole() -> None:
    found = verify(io.BytesIO(packed(good())), PLAIN)
    assert (found.made_at, found.recordings) == (1.5e9, 1)
    (info, text), data = notes(size="5", mtime="1.5"), b"other"
    sized = packed(good() | {}, (info, text + bytes(-len(text) % 512) + member("blobs/ab/c").tobuf() + data))
    with pytest.raises(BackupFailed, match=r"isn't as it was written: blobs/ab/c"):
        verify(io.BytesIO(sized), PLAIN)


STRANGE: dict[str, tuple[tarfile.TarInfo, bytes]] = {
    "a FIFO": (member(FILE + "0", tarfile.FIFOTYPE), b""),
    "a character device": (member(FILE + "0", tarfile.CHRTYPE), b""),
    "a block device": (member(FILE + "0", tarfile.BLKTYPE), b""),
    "a symbolic link": (member(FILE + "0", tarfile.SYMTYPE, link="/etc/passwd"), b""),
    "a link": (member(FILE + "0", tarfile.LNKTYPE, link=BASE), b""),
    "a sparse file": (member(FILE + "0", tarfile.GNUTYPE_SPARSE, size=0), b""),
    "an unknown kind": (member(FILE + "0", b"Z"), b""),
    "a contiguous file": (member(FILE + "0", tarfile.CONTTYPE), b""),
    "an absolute name": (member("/etc/passwd"), b""),
    "a name that leads up": (member("blobs/../../etc/passwd"), b""),
    "a name of one dot": (member("blobs/./a"), b""),
    "an empty name": (member(""), b""),
    "a name with a line break": (member("blobs/ab/a\nb"), b""),
    "a name that isn't text": (member("blobs/ab/\udcff"), b""),
    "a file elsewhere": (member("etc/passwd"), b""),
    "a file beside the snapshot": (member("appendonlydir/appendonly.aof.1.incr.aof"), b""),
    "a file in a folder's place": (member("blobs"), b""),
    "a folder elsewhere": (member("etc", tarfile.DIRTYPE), b""),
    "a folder with content": (member("blobs/ab", tarfile.DIRTYPE, size=512), bytes(512)),
    "a name twice": (member(FILE, size=5), b"other"),
    "a size that isn't there": (member(FILE + "0", size=GIB), b"few"),
    "a size below nothing": (member(FILE + "0", size=-512), b""),
    "a name of gigabytes": (member("long", tarfile.GNUTYPE_LONGNAME, size=8 * GIB), b"x"),
    "notes of gigabytes": (member("notes", tarfile.XHDTYPE, size=8 * GIB), b"x"),
    "notes of less than nothing": (member("notes", tarfile.XHDTYPE, size=-512), b""),
    "notes without a length": (member("notes", tarfile.XHDTYPE, size=6), b"size=5"),
    "notes that go on for ever": (member("notes", tarfile.XHDTYPE, size=8), b"0 a=b\n  "),
    "notes for all members": (member("notes", tarfile.XGLTYPE), b""),
    "a sparse file by its notes": notes(GNU__sparse__major="1", GNU__sparse__realsize=str(8 * GIB)),
    "another name by its notes": notes(path="/etc/passwd"),
    "a link by its notes": notes(linkpath="/etc/passwd"),
    "a size that is no number": notes(size="many"),
    "a size of a thousand digits": notes(size="9" * 5000),
    "notes on notes": (notes(mtime="1")[0], notes(mtime="1")[1] + bytes(500) + notes(mtime="1")[0].tobuf()),
    "checksums before the end": (member(SUMS, size=3), b"sum"),
    "checksums of gigabytes": (member(SUMS, size=8 * GIB), b""),
    "a second start of gigabytes": (member(ABOUT, size=8 * GIB), b""),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_backup_with_what_none_of_ours_has_is_refused(what: str, tmp_path: Path) -> None:
    stored = packed(good(), STRANGE[what])
    with pytest.raises(BackupFailed) as refused:
        verify(io.BytesIO(stored), PLAIN)
    assert len(str(refused.value)) < 600
    (file := tmp_path / "b.tar").write_bytes(stored)
    told = CliRunner().invoke(cli, ["backup", "verify", str(file)])
    assert isinstance(told.exception, BackupFailed)


def changed(name: str, data: bytes) -> dict[str, bytes]:
    return good() | {name: data}


CONTENTS: dict[str, bytes] = {
    "no object": b"[1]",
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "no time": b"{}",
    "a time that is text": b'{"made_at": "yesterday"}',
    "a time that is true": b'{"made_at": true}',
    "no number": b'{"made_at": NaN}',
    "no end": b'{"made_at": Infinity}',
    "a time before all": b'{"made_at": -1}',
    "a time after all": b'{"made_at": 1e300}',
    "a number of thousands of digits": b'{"made_at": ' + b"9" * 5000 + b"}",
    "a list in a list in a list": b"[" * 60_000,
    "too much of it": b" " * 70_000,
}


@pytest.mark.parametrize("what", CONTENTS)
def test_a_backup_that_says_nonsense_of_itself_is_refused(what: str) -> None:
    with pytest.raises(BackupFailed):
        verify(io.BytesIO(packed(changed(ABOUT, CONTENTS[what]))), PLAIN)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        bytes(10_240),
        bytes(511),
        b"no backup at all " * 1000,
        os.urandom(2048),
        packed({}),
        packed(good(), sums=""),
        packed(good(), sums="no checksums\n" * 5),
        packed(changed(MANIFEST, b"file ../../secret seq 1 type b\n")),
        packed(changed(BASE, b"no snapshot")),
        packed(good()) + b"more",
        packed(good()) + bytes(3 << 20),
        packed(good())[:-9000],
        b"murmseal",
        b"murmseal" + bytes(2000),
        b"murmseal" + b"\xff" * 2000,
    ],
    ids=range(16),
)
def test_what_is_no_backup_or_goes_on_behind_its_end_is_refused(stored: bytes) -> None:
    with pytest.raises(BackupFailed):
        verify(io.BytesIO(stored), PLAIN)


class Endless(io.RawIOBase):
    """A pipe into which somebody writes for ever; it gives up on a reader who takes everything."""

    def __init__(self, begin: bytes, pattern: bytes) -> None:
        self.begin, self.pattern, self.given = begin, pattern, 0

    def read(self, count: int = -1, /) -> bytes:
        self.given += count
        assert 0 <= self.given < 64 << 20, "it reads without end"
        data = self.begin[:count] + (self.pattern * (count // len(self.pattern) + 1))[: max(0, count - len(self.begin))]
        self.begin = self.begin[count:]
        return data


@pytest.mark.parametrize("pattern", [b"\0", b"x", member("blobs/ab", tarfile.DIRTYPE).tobuf()[:0] or b"\xff"])
@pytest.mark.parametrize("begin", [b"", packed(good())])
def test_an_endless_stream_is_not_read_to_its_end_nor_kept(pattern: bytes, begin: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BackupFailed):
            verify(Endless(begin, pattern), PLAIN)  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (ABOUT, good()[ABOUT] + b" " * 65_536, "may have 65536"),
        (MANIFEST, archive.MANIFEST_TEXT + b" ", f"may have {len(archive.MANIFEST_TEXT)}"),
        (BASE, b"REDIS0011" + bytes(200), "isn't one that Redis reads"),
        (BASE, b"RIDES0011" + RDB[9:], "isn't one that Redis reads"),
        (BASE, b"", "isn't one that Redis reads"),
    ],
)
def test_a_part_that_is_longer_than_it_can_be_or_no_snapshot_is_refused(name: str, content: bytes, why: str) -> None:
    with pytest.raises(BackupFailed, match=why):
        verify(io.BytesIO(packed({**good(), name: content})), PLAIN)


def test_a_snapshot_of_more_than_8_gib_is_read_by_the_size_in_its_notes() -> None:
    head = member(BASE, size=9 * GIB).tobuf(tarfile.PAX_FORMAT)
    assert head[156:157] == tarfile.XHDTYPE
    found = next(members.members(io.BytesIO(head)))
    assert (found.name, found.size) == (BASE, 9 * GIB)
    with pytest.raises(BackupFailed, match="cut off"):
        list(found.pieces)


def test_a_plain_backup_is_refused_where_backups_are_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = key_file(tmp_path / "keys", "k1")
    for accept, outcome in ((False, BackupFailed), (True, type(None))):
        settings = Settings(encryption=Encryption(key_file=str(keys), accept_plain=accept))
        try:
            verify(io.BytesIO(packed(good())), file_encryption(settings))
            error: object = None
        except BackupFailed as refused:
            error = refused
        assert isinstance(error, outcome)
    monkeypatch.setenv("MURMUR_ENCRYPTION__KEY_FILE", str(keys))
    (file := tmp_path / "b.tar").write_bytes(packed(good()))
    told = CliRunner().invoke(cli, ["backup", "verify", str(file)])
    assert "ACCEPT_PLAIN" in str(told.exception)


def test_a_path_that_leads_to_no_ordinary_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", tmp_path / "missing", tmp_path / ("x" * 300)):
        told = CliRunner().invoke(cli, ["backup", "verify", str(path)])
        assert isinstance(told.exception, BackupFailed), path


@pytest.mark.parametrize("what", ["a FIFO", "a symbolic link", "a name that leads up", "a file elsewhere"])
def test_a_part_of_an_earlier_version_s_backup_holds_ordinary_files_only(what: str) -> None:
    def part(*found: tarfile.TarInfo) -> io.BytesIO:
        return io.BytesIO(b"".join(info.tobuf() for info in found) + bytes(1024))

    ours = [member("blobs/ab", tarfile.DIRTYPE), member(FILE)]
    check_earlier(part(*ours), PLAIN)
    with pytest.raises(BackupFailed):
        check_earlier(part(*ours, STRANGE[what][0]), PLAIN)
    with pytest.raises(BackupFailed, match="no part"):
        check_earlier(part(), PLAIN)
