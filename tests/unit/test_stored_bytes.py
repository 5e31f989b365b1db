"""Stored bytes are what their name says, or they are set aside."""

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from transcription.encryption.files import PLAIN
from transcription.errors import BlobDamaged, BlobMissing, ScratchFailed, StorageUnavailable
from transcription.retry import classified
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import DiskResults
from transcription.storage.verify import Verified, verify

AUDIO = os.urandom(3_000_000)
SHA256 = hashlib.sha256(AUDIO).hexdigest()


def keep(blobs: DiskBlobs) -> str:
    async def upload() -> str:
        one = blobs.upload()
        await one.write(AUDIO)
        return await one.commit()

    return asyncio.run(upload())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was synced to the disk, and what was renamed, in their order; by inode."""
    found, fsync, rename = list[tuple[str, int]](), os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        found.append(("synced", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        found.append(("renamed", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    return found


def is_durable(path: Path, steps: list[tuple[str, int]]) -> bool:
    """Whether the *steps* leave *path* whole on the disk whenever the power goes: its bytes, its name, its folder."""
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    needed = [("synced", file), ("renamed", file), ("synced", folder)]
    return [step for step in steps if step in needed] == needed


def test_recording_is_on_the_disk_under_its_name_before_it_is_accepted(
    tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    path = DiskBlobs(tmp_path).fetch(keep(DiskBlobs(tmp_path)))
    assert is_durable(path, steps)


def test_result_is_on_the_disk_under_its_name_before_it_may_leave_the_ledger(
    tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    store = DiskResults(tmp_path, PLAIN)
    store.write("ab" * 16, b"what was said")
    assert is_durable(tmp_path / "ab" / ("ab" * 16), steps)


def test_what_is_damaged_and_results_that_were_never_finished_go_when_they_are_old(tmp_path: Path) -> None:
    blobs, store = DiskBlobs(tmp_path), DiskResults(tmp_path / "results", PLAIN)
    blobs.set_aside(keep(blobs))
    store.write("ab" * 16, b"what was said")
    begun = tmp_path / "results" / "parts" / "x.part"
    begun.write_bytes(b"half")
    (tmp_path / "results" / "ab" / "notes.txt").write_bytes(b"an operator's own")
    assert list(store.old(older_than_s=3600)) == []
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    for path in [*tmp_path.rglob("*")]:
        os.utime(path, (1, 1))
    assert list(store.old(older_than_s=3600)) == ["ab" * 16]
    assert not begun.exists()
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 1
    assert list((tmp_path / "damaged").iterdir()) == []


def test_upload_of_the_whole_recording_replaces_one_that_was_cut(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    path = blobs.fetch(keep(blobs))
    path.write_bytes(AUDIO[: len(AUDIO) // 2])
    assert keep(blobs) == SHA256
    assert path.read_bytes() == AUDIO
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.stat().st_size == len(AUDIO) // 2


def test_blob_with_other_bytes_of_the_same_length_is_set_aside_and_the_next_upload_mends_it(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    path = blobs.fetch(keep(blobs))
    path.write_bytes(AUDIO[:-1] + bytes([AUDIO[-1] ^ 1]))
    with pytest.raises(BlobDamaged, match=SHA256):
        verify(path, SHA256, damaged=blobs.set_aside)
    with pytest.raises(BlobMissing):
        blobs.fetch(SHA256)
    keep(blobs)
    verify(blobs.fetch(SHA256), SHA256, damaged=blobs.set_aside)


def test_each_blob_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    blobs, pieces = DiskBlobs(tmp_path), list[int]()
    path, look = blobs.fetch(keep(blobs)), Verified(blobs.set_aside)
    for _ in range(3):
        look(path, SHA256, progressed=lambda: pieces.append(1))
    assert len(pieces) == 3  # mebibytes
    path.write_bytes(AUDIO[:-1])
    with pytest.raises(BlobDamaged):
        look(path, SHA256, progressed=lambda: None)


def test_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output") as caught:
        verify(path, SHA256, damaged=lambda _: pytest.fail("it was set aside"))
    assert isinstance(classified(caught.value), ScratchFailed)


def test_what_was_set_aside_is_deleted_with_what_nobody_needs(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    blobs.fetch(keep(blobs))
    blobs.set_aside(SHA256)
    blobs.sweep(older_than_s=60, held=set)
    (aside,) = (tmp_path / "damaged").iterdir()
    os.utime(aside, (time.time() - 120,) * 2)
    blobs.sweep(older_than_s=60, held=set)
    assert not aside.exists()


def test_disk_that_goes_away_in_the_middle_of_an_upload_is_a_store_that_takes_nothing_now(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "blobs")

    async def cut() -> None:
        one = blobs.upload()
        await one.write(AUDIO)
        await one.path()
        (tmp_path / "blobs").rename(tmp_path / "away")
        try:
            await one.commit()
        finally:
            await one.abort()

    with pytest.raises(StorageUnavailable):
        asyncio.run(cut())
