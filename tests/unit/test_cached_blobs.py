"""Blobs that live elsewhere, with the copies of them here; what is elsewhere is a dictionary."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from transcription.errors import BlobDamaged, BlobMissing
from transcription.storage.cached import CachedBlobs, missing
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
