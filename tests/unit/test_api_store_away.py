"""A store that goes away in the middle of a submit: 503, nothing accepted, and the same recording is taken later."""

import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from api.jobs import machine
from api.jobs.intake import store_errors
from tests import audio_files
from tests.api_client import Bench
from transcription.errors import BlobMissing, CorruptAudio, ScratchFailed, StorageUnavailable
from transcription.storage.disk import DiskUpload

pytestmark = pytest.mark.anyio

Deed = Callable[[Path], None]


def taken_away(blobs: Path) -> None:
    blobs.rename(blobs.with_name("away"))


def no_folder(blobs: Path) -> None:
    taken_away(blobs)
    blobs.write_bytes(b"")


def without_its_parts(blobs: Path) -> None:
    for path in (blobs / "parts").iterdir():
        path.unlink()


def bring_back(blobs: Path) -> None:
    if blobs.is_file():
        blobs.unlink()
    if blobs.with_name("away").exists():
        if blobs.exists():
            blobs.rename(blobs.with_name("meanwhile"))
        blobs.with_name("away").rename(blobs)


@pytest.mark.parametrize("deed", [taken_away, no_folder, without_its_parts])
@pytest.mark.parametrize("step", ["probe", "commit"])
async def test_upload_whose_store_goes_away_is_refused_for_now_and_taken_later(
    api: Bench, monkeypatch: pytest.MonkeyPatch, step: str, deed: Deed
) -> None:
    blobs = api.settings.blob_dir
    path, expect = DiskUpload.path, api.jobs.expect

    async def written(upload: DiskUpload) -> Path:
        found = await path(upload)
        deed(blobs)
        return found

    async def expected(sha256: str, *, job_id: str) -> bool:
        deed(blobs)
        return await expect(sha256, job_id=job_id)

    with monkeypatch.context() as patch:
        patch.setattr(DiskUpload, "path", written) if step == "probe" else patch.setattr(api.jobs, "expect", expected)
        answer = await api.submit(audio_files.wav())
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert not api.jobs.jobs
    bring_back(blobs)
    assert (await api.submit(audio_files.wav())).status_code == 202


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.EIO, "Input/output error")])
async def test_disk_that_cannot_be_looked_at_refuses_jobs_and_leaves_health_and_metrics_answering(
    api: Bench, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def broken(_: Path) -> None:
        raise error

    monkeypatch.setattr(shutil, "disk_usage", broken)
    monkeypatch.setattr(machine, "_CACHE_S", 0.0)
    refused = await api.submit(audio_files.wav())
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    assert (await api.http.get("/health")).json()["refusal"]["code"] == "storage_unavailable"
    assert (await api.http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(("late_s", "disk_bytes", "status"), [(1.0, 1 << 41, 202), (5.5, 1 << 41, 503), (0.6, 0, 503)])
async def test_disk_that_answers_late_takes_uploads_until_it_seems_to_hang_or_was_never_seen(
    api: Bench, monkeypatch: pytest.MonkeyPatch, late_s: float, disk_bytes: int, status: int
) -> None:
    async def read(_: machine.Machine) -> machine.Reading:
        return machine.Reading(50.0, 1 << 40, disk_bytes, late_s)

    monkeypatch.setattr(machine.Machine, "read", read)
    answer = await api.submit(audio_files.wav())
    assert answer.status_code == status, answer.text
    assert status == 202 or (answer.json()["code"], answer.headers["retry-after"]) == ("storage_unavailable", "60")


async def test_first_look_at_a_slow_disk_refuses_no_job(api: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, usage = threading.Event(), shutil.disk_usage

    def slow(directory: Path) -> object:
        seen.wait(1)  # twice as long as a later look may take
        return usage(directory)

    monkeypatch.setattr(shutil, "disk_usage", slow)
    assert (await api.submit(audio_files.wav())).status_code == 202


async def test_deletion_at_a_store_that_is_away_says_so(api: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = (await api.submit(audio_files.wav())).json()

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("transcription.storage.disk.DiskBlobs.discard", away)
    answer = await api.http.delete(job["urls"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")


@pytest.mark.parametrize("error", [BlobMissing("pruned"), ScratchFailed("EIO"), OSError(errno.EIO, "EIO")])
def test_what_a_store_meets_is_its_own_fault(error: Exception) -> None:
    with pytest.raises(StorageUnavailable), store_errors():
        raise error
    with pytest.raises(CorruptAudio), store_errors():
        raise CorruptAudio("noise")
