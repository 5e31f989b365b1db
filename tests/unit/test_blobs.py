"""The disk store's own affairs: files, sweeps, a full disk."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.platform import eventually_async
from transcription.errors import BlobMissing, DiskFull
from transcription.storage import disk, pages
from transcription.storage.disk import DiskBlobs, blob_path, modified

pytestmark = pytest.mark.anyio

OLD = 7200


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def open_under(root: Path) -> list[str]:
    """What this process holds open of *root*: another test's threads may open other things meanwhile."""
    links = [path.resolve() for path in Path("/dev/fd").iterdir()]
    return [str(path) for path in links if path.is_relative_to(root)]


def age(path: Path) -> None:
    """Let *path* look as if it were two hours old."""
    then = time.time() - OLD
    os.utime(path, (then, then))


async def stored(blobs: DiskBlobs, data: bytes) -> str:
    upload = blobs.upload()
    await upload.write(data)
    return await upload.commit()


async def test_blob_lies_under_its_sha256_and_no_part_is_left(tmp_path: Path) -> None:
    sha256 = await stored(DiskBlobs(tmp_path), b"sound")
    assert (tmp_path / sha256[:2] / sha256).read_bytes() == b"sound"
    assert files(tmp_path) == [sha256]


async def test_sweep_takes_old_parts_and_old_blobs_that_nobody_holds(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    held, unheld, fresh = [await stored(blobs, name) for name in (b"held", b"unheld", b"fresh")]
    orphan, coming = blobs.upload(), blobs.upload()
    for upload in (orphan, coming):
        await upload.write(b"half")
    orphan_path = await orphan.path()
    await coming.path()
    for path in (blobs.fetch(held), blobs.fetch(unheld), orphan_path):
        age(path)
    assert blobs.sweep(older_than_s=3600, held=lambda _: {held}) == 2
    assert blobs.fetch(held)
    assert blobs.fetch(fresh)
    with pytest.raises(BlobMissing):
        blobs.fetch(unheld)
    assert not orphan_path.exists()
    assert (await coming.path()).exists()
    await orphan.abort()
    await coming.abort()


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_room_that_was_promised_to_an_upload_is_free_again_however_it_ends(tmp_path: Path, end: str) -> None:
    blobs = DiskBlobs(tmp_path)
    upload = blobs.upload(expected_bytes=1000)
    assert blobs.promised_bytes() == 1000
    await upload.write(b"sound")
    await getattr(upload, end)()
    assert blobs.promised_bytes() == 0


def test_sweep_of_a_store_that_was_never_used_finds_nothing(tmp_path: Path) -> None:
    assert DiskBlobs(tmp_path / "none").sweep(older_than_s=0, held=lambda _: ()) == 0


async def test_blob_that_comes_again_is_young_again(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256 = await stored(blobs, b"sound")
    age(blobs.fetch(sha256))
    await stored(blobs, b"sound")
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert blobs.fetch(sha256)


async def test_a_scan_asks_for_a_page_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE", 10)
    blobs, asked = DiskBlobs(tmp_path), []
    for number in range(25):
        age(blobs.fetch(await stored(blobs, b"%d" % number)))

    def held(names: Sequence[str]) -> Sequence[str]:
        asked.append(len(names))
        return names[:3]

    assert blobs.sweep(older_than_s=3600, held=held) == 25 - 9
    assert asked == [10, 10, 5]


async def test_blob_that_comes_again_in_the_middle_of_a_sweep_survives_it(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256 = await stored(blobs, b"sound")
    age(blobs.fetch(sha256))

    def asked(names: Sequence[str]) -> Sequence[str]:
        for name in names:
            os.utime(blobs.fetch(name))  # what a commit of the same bytes does
        return ()

    assert blobs.sweep(older_than_s=3600, held=asked) == 0
    assert blobs.fetch(sha256).read_bytes() == b"sound"
    assert files(tmp_path) == [sha256]


async def test_worker_whose_clock_is_two_hours_ahead_sweeps_nothing_of_what_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, real = DiskBlobs(tmp_path), time.time
    sha256, coming = await stored(blobs, b"sound"), blobs.upload()
    await coming.write(b"half")
    part = await coming.path()
    monkeypatch.setattr(time, "time", lambda: real() + 7200)
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert blobs.old(older_than_s=3600) == []
    blobs.discard(sha256, older_than_s=60)
    assert blobs.fetch(sha256)
    assert part.exists()
    await coming.abort()


async def test_discarded_blob_is_missing(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256 = await stored(blobs, b"sound")
    blobs.discard(sha256, older_than_s=60)
    assert blobs.fetch(sha256).is_file()  # a job for what has just come in may be on its way
    os.utime(blobs.fetch(sha256), (1, 1))
    blobs.discard(sha256, older_than_s=60)
    blobs.discard(sha256, older_than_s=60)
    with pytest.raises(BlobMissing):
        blobs.fetch(sha256)


async def test_full_disk_is_said_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    upload = DiskBlobs(tmp_path).upload()
    await upload.write(b"x" * 100)
    monkeypatch.setattr("transcription.storage.disk.os.write", full)
    with pytest.raises(DiskFull, match="No space left"):
        await upload.commit()
    await upload.abort()
    assert files(tmp_path) == []


async def test_upload_that_is_cancelled_while_it_writes_leaves_no_part(tmp_path: Path) -> None:
    upload = DiskBlobs(tmp_path).upload()

    async def receive() -> None:
        try:
            while True:
                await upload.write(b"x" * 300_000)
                await asyncio.sleep(0)
        finally:
            await upload.abort()

    task = asyncio.create_task(receive())
    await eventually_async(lambda: upload.size > 2_000_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upload.size > 300_000
    assert files(tmp_path) == []


async def test_the_first_upload_makes_all_folders_so_that_no_other_waits_for_one(tmp_path: Path) -> None:
    upload = DiskBlobs(tmp_path).upload()
    await upload.write(b"one")
    await upload.commit()
    assert {f"{number:02x}" for number in range(256)} <= folders(tmp_path)


async def test_uploads_that_were_never_finished_go_also_where_only_the_blobs_are_asked_for(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256, orphan = await stored(blobs, b"sound"), blobs.upload()
    await orphan.write(b"half")
    part = await orphan.path()
    for path in (part, blobs.fetch(sha256)):
        age(path)
    assert blobs.old(older_than_s=3600) == [sha256]
    assert not part.exists()
    await orphan.abort()


async def test_nothing_is_swept_from_a_disk_that_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256 = await stored(blobs, b"sound")
    age(blobs.fetch(sha256))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert blobs.old(older_than_s=3600) == []
    assert blobs.fetch(sha256)


async def test_files_that_are_no_blobs_are_left_alone_and_one_that_has_gone_is_not_old(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    own = blobs.fetch(await stored(blobs, b"sound")).with_name("notes.txt")
    own.write_bytes(b"an operator's own")
    age(own)
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert own.exists()
    assert modified(tmp_path / "gone") == float("inf")


async def test_damaged_blob_is_kept_for_a_while_however_old_it_was(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    sha256 = await stored(blobs, b"sound")
    age(blobs.fetch(sha256))
    blobs.set_aside(sha256)
    assert blobs.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert len(list((tmp_path / "damaged").iterdir())) == 1


async def test_buffer_that_could_not_be_written_ends_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.write, [OSError(errno.ENOSPC, "No space left on device")]

    def full_once(descriptor: int, data: bytes) -> int:
        if left:
            raise left.pop()
        return real(descriptor, data)

    upload = DiskBlobs(tmp_path).upload()
    monkeypatch.setattr("transcription.storage.disk.os.write", full_once)
    await upload.write(b"x" * (1 << 20))
    with pytest.raises(DiskFull, match="No space left"):
        await upload.commit()
    await upload.abort()
    assert files(tmp_path) == []


async def test_upload_without_bytes_is_a_blob_without_bytes(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    upload = blobs.upload()
    assert (await upload.path()).read_bytes() == b""
    assert blobs.fetch(await upload.commit()).read_bytes() == b""


async def test_what_ended_an_upload_is_not_hidden_by_a_disk_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = DiskBlobs(tmp_path).upload()
    await upload.write(b"x")
    await upload.path()

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", away)
        await upload.abort()


async def test_later_uploads_make_no_folders_and_leave_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = DiskBlobs(tmp_path)
    await stored(blobs, b"sound")
    monkeypatch.setattr(disk, "make_folders", lambda _: pytest.fail("256 folders once more"))
    for number in range(3):
        await stored(blobs, b"%d" % number)
    assert open_under(tmp_path) == []


async def test_uploads_that_hang_on_a_disk_take_no_threads_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    write = os.write

    def written(descriptor: int, data: bytes) -> int:
        threads.append(threading.current_thread().name)
        return write(descriptor, data)

    monkeypatch.setattr("transcription.storage.disk.os.write", written)
    await stored(DiskBlobs(tmp_path), b"sound")
    assert threads
    assert all(name.startswith("disk_") for name in threads)


def test_each_damaged_copy_is_set_aside_and_one_that_somebody_else_has_set_aside_is_no_error(tmp_path: Path) -> None:
    blobs, sha256 = DiskBlobs(tmp_path), "a" * 64
    for content in (b"half", b"another half"):
        path = blob_path(tmp_path, sha256)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        blobs.set_aside(sha256)
        blobs.set_aside(sha256)
    assert {path.read_bytes() for path in (tmp_path / "damaged").iterdir()} == {b"half", b"another half"}
