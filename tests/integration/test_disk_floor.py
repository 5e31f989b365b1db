"""A floor of the disk stays free, however many uploads come at once, and whether they say how long they are or not."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import pytest

from api.jobs import machine
from tests.api_client import Bench
from tests.platform import eventually_async
from tests.secured_api import secured, settings_for
from transcription.errors import DiskFull
from transcription.storage import room
from transcription.storage.disk import DiskBlobs

pytestmark = pytest.mark.anyio

MB = 1 << 20
DISK = 100 * MB
FLOOR = 85 * MB
EACH = 6 * MB


class Disk:
    """A disk of 100 MB that really holds what is written; ``least`` is the least that was free at any look."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.least = DISK

    def free(self, _: Path) -> int:
        # Files come and go meanwhile.
        used = sum(path.stat().st_size for path in self._root.rglob("*.part") if path.exists())
        self.least = min(self.least, DISK - used)
        return DISK - used


@pytest.fixture
async def api(redis_url: str, tmp_path: Path, disk: Disk) -> AsyncIterator[Bench]:
    settings = settings_for(redis_url, tmp_path, require_keys=False)
    limits = settings.limits.model_copy(update={"min_free_disk_bytes": FLOOR})
    async with secured(settings.model_copy(update={"limits": limits})) as running:
        yield running


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    fake = Disk(tmp_path)
    monkeypatch.setattr(room, "free_bytes", fake.free)
    monkeypatch.setattr(machine, "read", lambda root: machine.Reading(0.0, fake.free(root), DISK))
    return fake


async def chunks(gate: asyncio.Event) -> AsyncIterator[bytes]:
    for _ in range(EACH // MB):
        yield b"\x01" * MB
    await gate.wait()


def said(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return sorted((answer.status_code, answer.json()["code"]) for answer in answers)


async def test_eight_uploads_at_once_that_say_no_length_leave_the_floor_free(api: Bench, disk: Disk) -> None:
    gate = asyncio.Event()
    headers = {"content-type": "audio/wav"}
    sends = [asyncio.create_task(api.http.post("/v1/jobs", content=chunks(gate), headers=headers)) for _ in range(8)]
    # Only two have room; the others are told so while those still hold theirs.
    await eventually_async(lambda: sum(send.done() for send in sends) >= 6)
    gate.set()
    codes = said(await asyncio.gather(*sends))
    assert codes.count((503, "disk_full")) >= 6
    assert disk.least >= FLOOR
    assert disk.free(Path()) == DISK


async def test_uploads_that_say_their_length_are_refused_before_their_body_where_others_need_the_room(
    api: Bench, disk: Disk
) -> None:
    gate, read = asyncio.Event(), []

    async def counted(number: int) -> AsyncIterator[bytes]:
        async for chunk in chunks(gate):
            read.append(number)
            yield chunk

    headers = {"content-type": "audio/wav", "content-length": str(EACH)}
    sends = [asyncio.create_task(api.http.post("/v1/jobs", content=counted(n), headers=headers)) for n in range(8)]
    await eventually_async(lambda: sum(send.done() for send in sends) >= 6)
    assert len(set(read)) == 2
    gate.set()
    codes = said(await asyncio.gather(*sends))
    assert codes.count((503, "disk_full")) == 6
    assert disk.least >= FLOOR
    # What was kept is given back.
    assert api.app.state.platform.submissions.blobs.promised_bytes() == 0


def test_what_is_being_written_counts_once_for_another_upload_that_has_its_own_promise(
    tmp_path: Path, disk: Disk
) -> None:
    room_ = room.DiskRoom(tmp_path, floor_bytes=FLOOR)
    one, other = room_.promise(7 * MB), room_.promise(7 * MB)

    def write() -> None:
        with other.taken(7 * MB):
            (tmp_path / "other.part").write_bytes(bytes(7 * MB))

    with ThreadPoolExecutor() as pool:
        with one.taken(7 * MB):
            (tmp_path / "one.part").write_bytes(bytes(7 * MB))
            writing = pool.submit(write)
            wait([writing], timeout=0.2)  # it asks now, or later: both are well
        writing.result(30)
    assert disk.free(Path()) == DISK - 14 * MB
    with pytest.raises(DiskFull), room_.promise(0).taken(2 * MB):
        pass
    assert room_.promised_bytes == 0


def test_a_write_that_hangs_makes_no_other_upload_wait_for_ever(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LONGEST_WAIT_S", 0.05)
    room_ = room.DiskRoom(tmp_path, floor_bytes=FLOOR)
    with room_.promise(12 * MB).taken(12 * MB), pytest.raises(DiskFull), room_.promise(0).taken(5 * MB):
        pass
    assert disk.least == DISK


async def test_room_that_was_promised_to_one_upload_is_not_taken_by_another(tmp_path: Path, disk: Disk) -> None:
    blobs = DiskBlobs(tmp_path, floor_bytes=FLOOR)
    promised, other = blobs.upload(expected_bytes=12 * MB), blobs.upload()
    for _ in range(3):
        await other.write(bytes(MB))
    await other.path()
    await other.write(bytes(MB))
    with pytest.raises(DiskFull):
        await other.path()
    await other.abort()
    for _ in range(12):
        await promised.write(bytes(MB))
    await promised.path()
    assert blobs.promised_bytes() == 0
    await promised.abort()
