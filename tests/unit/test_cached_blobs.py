"""Blobs that live elsewhere, with the copies of them here; what is elsewhere is a dictionary."""

import asyncio
import base64
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from transcription.encryption.files import FileEncryption
from transcription.encryption.keys import KeyFile
from transcription.encryption.sealed import MAGIC
from transcription.errors import BlobDamaged, BlobMissing, DiskFull, Stopped
from transcription.storage.cached import CachedBlobs, missing, unavailable
from transcription.storage.disk import DiskBlobs, blob_path
from transcription.storage.pages import Held

AUDIO = b"sound" * 1000
SHA256 = hashlib.sha256(AUDIO).hexdigest()


class Elsewhere:
    """A source; ``aside`` are the blobs that it was told are damaged."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.aside: list[str] = []

    def read(self, sha256: str) -> Iterator[bytes]:
        if sha256 not in self.kept:
            raise missing(sha256, "the dictionary")
        yield self.kept[sha256][:100]
        yield self.kept[sha256][100:]

    def write(self, sha256: str, path: Path) -> None:
        self.kept[sha256] = path.read_bytes()

    def set_aside(self, sha256: str) -> None:
        self.aside.append(sha256)

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        assert older_than_s == -60
        self.kept.pop(sha256, None)

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        gone = set(self.kept) - set(held(sorted(self.kept)))
        for sha256 in gone:
            self.discard(sha256, older_than_s=older_than_s)
        return len(gone)


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def blobs(tmp_path: Path, elsewhere: Elsewhere) -> CachedBlobs:
    return CachedBlobs(DiskBlobs(tmp_path), elsewhere, cache_bytes=1 << 30)


def stored(blobs: CachedBlobs) -> str:
    async def put() -> str:
        upload = blobs.upload()
        await upload.write(AUDIO)
        return await upload.commit()

    return asyncio.run(put())


def test_recording_is_elsewhere_when_it_is_accepted(blobs: CachedBlobs, elsewhere: Elsewhere) -> None:
    assert stored(blobs) == SHA256
    assert elsewhere.kept == {SHA256: AUDIO}


def test_recording_that_is_deleted_is_deleted_here_too(
    blobs: CachedBlobs, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    path = blob_path(tmp_path, stored(blobs))
    blobs.discard(SHA256, older_than_s=-60)
    assert (elsewhere.kept, path.exists()) == ({}, False)
    path = blob_path(tmp_path, stored(blobs))
    assert blobs.sweep(older_than_s=-60, held=lambda _: ()) == 2
    assert (elsewhere.kept, path.exists()) == ({}, False)
    with pytest.raises(BlobMissing):
        blobs.fetch(SHA256)


def test_recording_that_comes_damaged_is_taken_out_of_use_where_it_lives_and_leaves_nothing_here(
    blobs: CachedBlobs, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    elsewhere.kept[SHA256] = AUDIO[:-1]
    with pytest.raises(BlobDamaged, match="isn't that audio"):
        blobs.fetch(SHA256)
    assert elsewhere.aside == [SHA256]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_copy_that_is_damaged_is_brought_again(blobs: CachedBlobs, tmp_path: Path) -> None:
    blob_path(tmp_path, stored(blobs)).write_bytes(AUDIO[:-1])
    with pytest.raises(BlobDamaged):
        blobs.check(SHA256)
    assert blobs.fetch(SHA256).read_bytes() == AUDIO


def age(blobs: CachedBlobs, sha256: str, seconds: float) -> Path:
    path = blobs.fetch(sha256)
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def kept(elsewhere: Elsewhere, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    elsewhere.kept[sha256] = content
    return sha256


def test_copies_go_when_there_is_no_room_those_first_that_were_not_asked_for_longest(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    blobs = CachedBlobs(DiskBlobs(tmp_path), elsewhere, cache_bytes=3 * len(AUDIO))
    first, second, third, fourth = [kept(elsewhere, bytes([n]) * len(AUDIO)) for n in range(4)]
    paths = {name: age(blobs, name, 300 - n) for n, name in enumerate((first, second, third))}
    assert blobs.fetch(first).stat().st_mtime > time.time() - 60, "what is asked for again is young again"
    blobs.fetch(fourth)
    assert [paths[name].exists() for name in (first, second, third)] == [True, False, True]
    age(blobs, first, 100)
    assert blobs.fetch(stored(blobs)).read_bytes() == AUDIO
    assert not paths[third].exists(), "an upload makes room as well"


def test_copy_that_may_not_have_been_opened_yet_stays_whatever_room_there_is(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    blobs = CachedBlobs(DiskBlobs(tmp_path), elsewhere, cache_bytes=0)
    first, second = (kept(elsewhere, content) for content in (b"first", b"second"))
    path = blobs.fetch(first)
    blobs.fetch(second)
    assert path.read_bytes() == b"first"
    age(blobs, first, 100)
    age(blobs, second, 100)
    assert blobs.fetch(kept(elsewhere, b"third")).read_bytes() == b"third"
    assert not path.exists()


def test_transfer_tells_of_each_piece_and_ends_when_nobody_wants_it(
    blobs: CachedBlobs, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    pieces: list[int] = []
    kept(elsewhere, AUDIO)
    assert blobs.fetch(SHA256, progressed=lambda: pieces.append(1)).read_bytes() == AUDIO
    assert len(pieces) == 2

    def unwanted() -> None:
        raise Stopped("nobody waits for it")

    with pytest.raises(Stopped):
        blobs.fetch(kept(elsewhere, b"other"), progressed=unwanted)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [SHA256]


def test_copy_for_which_there_is_no_room_is_a_full_disk(
    blobs: CachedBlobs, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs._disk, "encryption", SimpleNamespace(create=full, on=False))
    with pytest.raises(DiskFull):
        blobs.fetch(kept(elsewhere, AUDIO))


def test_room_that_an_upload_needs_is_promised_to_it_here(blobs: CachedBlobs) -> None:
    upload = blobs.upload(expected_bytes=1000)
    assert blobs.promised_bytes() == 1000
    asyncio.run(upload.abort())
    assert blobs.promised_bytes() == 0


def test_store_that_is_away_says_when_to_come_again() -> None:
    assert unavailable("the bucket", "no answer").retry_after_s == 10


def test_recordings_lie_encrypted_here_whether_they_come_plain_or_encrypted_and_are_what_their_name_says(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"k1 {base64.b64encode(bytes(32)).decode()}\n")
    encryption = FileEncryption(KeyFile(tmp_path / "keys"))

    def host(name: str) -> CachedBlobs:
        return CachedBlobs(DiskBlobs(tmp_path / name, encryption=encryption), elsewhere, cache_bytes=1 << 30)

    kept(elsewhere, AUDIO)
    assert stored(host("plain")) == SHA256
    sealed = elsewhere.kept[SHA256]
    assert sealed.startswith(MAGIC)
    assert host("other").fetch(SHA256).read_bytes() == sealed
    elsewhere.kept[SHA256] = sealed[:-1]
    with pytest.raises(BlobDamaged):
        host("third").fetch(SHA256)
    assert elsewhere.aside == [SHA256]
    elsewhere.kept[SHA256] = AUDIO
    path = host("fourth").fetch(SHA256)
    assert path.stat().st_size == encryption.stored_size(len(AUDIO))
    with encryption.open(path) as file:
        assert file.read(len(AUDIO) + 1) == AUDIO
