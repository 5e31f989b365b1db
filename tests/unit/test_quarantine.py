"""A worker that keeps meeting faults of the platform stops to claim, probes, and comes back."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.platform import eventually
from transcription.errors import BlobMissing, EngineFailed, ModelUnavailable, ScratchFailed, StorageUnavailable
from transcription.settings import Settings
from transcription.storage.disk import DiskBlobs
from worker.health import quarantine
from worker.health.probes import Probes, write_and_read
from worker.health.quarantine import Quarantine
from worker.model_cache import ModelCache

SERVED = ("demo", "base")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(quarantine, "LONGEST_PAUSE_S", 0.05)


class Part:
    """Something to probe, which the test breaks and mends."""

    def __init__(self) -> None:
        self.broken = threading.Event()
        self.probes = 0

    def __call__(self, part: str) -> None:
        self.probes += 1
        if self.broken.is_set():
            raise BlobMissing(f"{part} is still away")


def test_three_faults_of_storage_in_a_row_close_the_worker_until_its_probe_passes() -> None:
    part, told = Part(), list[bool]()
    part.broken.set()
    subject = Quarantine(part, SERVED, changed=told.append, limit=3)
    for _ in range(2):
        subject.met(BlobMissing("not here"), model="demo")
    assert subject.open
    subject.met(StorageUnavailable("403", retry_after_s=1), model="demo")
    assert not subject.open
    assert subject.without(("demo", "base")) == ()
    eventually(lambda: part.probes > 3)
    assert subject.reason == "storage: storage is still away"
    part.broken.clear()
    eventually(lambda: subject.open)
    assert (subject.reason, told) == ("", [False, True])


def test_faults_that_are_not_in_a_row_close_nothing() -> None:
    subject = Quarantine(Part(), SERVED, limit=2)
    for _ in range(5):
        subject.met(ScratchFailed("no disk"), model="demo")
        subject.passed(model="demo")
    subject.met(BlobMissing("not here"), model="demo")
    subject.met(ScratchFailed("no disk"), model="demo")
    assert subject.open


def test_a_model_that_cannot_be_loaded_is_withdrawn_alone() -> None:
    part = Part()
    part.broken.set()
    subject = Quarantine(part, SERVED)
    subject.met(ModelUnavailable("no weights"), model="large-v3")
    assert subject.open
    assert subject.without(("demo", "large-v3")) == ("demo",)
    part.broken.clear()
    eventually(lambda: subject.without(("demo", "large-v3")) == ("demo", "large-v3"))


def test_a_worker_takes_no_hints_while_none_of_its_models_can_be_loaded() -> None:
    part, told = Part(), list[bool]()
    part.broken.set()
    subject = Quarantine(part, SERVED, changed=told.append)
    for model in SERVED:
        subject.met(ModelUnavailable("no weights"), model=model)
    assert told == [True, False]
    part.broken.clear()
    eventually(lambda: len(told) == 4)
    assert told[2:] == [True, True]


def test_a_disk_that_can_not_be_written_closes_the_worker() -> None:
    part = Part()
    part.broken.set()
    subject = Quarantine(part, SERVED, limit=1)
    subject.met(ScratchFailed("no disk"), model="demo")
    assert not subject.open
    assert subject.without(("demo",)) == ()
    subject.close()


class Pauses:
    """Stands where the probing thread waits: nobody waits, and how long is kept."""

    def __init__(self, most: int) -> None:
        self.asked: list[float] = []
        self._most = most

    def wait(self, length_s: float) -> bool:
        self.asked.append(length_s)
        return len(self.asked) >= self._most

    def set(self) -> None:
        """Nothing waits."""


def waiting(subject: Quarantine, monkeypatch: pytest.MonkeyPatch, most: int) -> Pauses:
    monkeypatch.setattr(quarantine, "random", SimpleNamespace(uniform=lambda _, longest: longest))
    pauses = Pauses(most)
    subject._closed = cast("Any", pauses)
    return pauses


def test_pauses_between_probes_grow_and_have_a_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part()
    part.broken.set()
    subject = Quarantine(part, SERVED, limit=1)
    pauses = waiting(subject, monkeypatch, 7)
    subject.met(ScratchFailed("no disk"), model="demo")
    eventually(lambda: len(pauses.asked) == 7)
    assert pauses.asked == [0.0, 0.01, 0.02, 0.04, 0.05, 0.05, 0.05]


def test_where_spans_fail_though_the_probe_passes_the_pauses_go_on_growing_until_one_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = Quarantine(Part(), SERVED, limit=1)
    pauses = waiting(subject, monkeypatch, 99)
    for number in range(1, 4):
        subject.met(ScratchFailed("no disk"), model="demo")
        eventually(lambda number=number: len(pauses.asked) == number and subject.open)  # type: ignore[misc]
    assert pauses.asked == [0.0, 0.01, 0.02]
    subject.passed(model="demo")
    subject.met(ScratchFailed("no disk"), model="demo")
    eventually(lambda: len(pauses.asked) == 4 and subject.open)
    assert pauses.asked[-1] == 0.0


def test_an_error_that_no_probe_knows_closes_nothing() -> None:
    subject = Quarantine(Part(), SERVED, limit=1)
    subject.met(EngineFailed("boom"), model="demo")
    assert subject.open


async def kept(blobs: DiskBlobs) -> str:
    upload = blobs.upload()
    await upload.write(b"audio")
    return await upload.commit()


def test_storage_is_well_when_any_blob_can_be_read_and_sick_when_none_can(tmp_path: Path) -> None:
    settings = Settings(model="demo", data_dir=tmp_path)
    blobs = DiskBlobs(settings.blob_dir)
    waiting: list[str] = []
    probes = Probes(settings, blobs, ModelCache(settings), lambda: waiting)
    probes.remember("a" * 64)  # this one is gone for good
    with pytest.raises(BlobMissing):
        probes("storage")
    waiting.append(asyncio.run(kept(blobs)))
    probes("storage")


def test_scratch_is_sick_when_it_cannot_be_written(tmp_path: Path) -> None:
    write_and_read(tmp_path / "pcm")
    assert list((tmp_path / "pcm").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        write_and_read(tmp_path / "file")


def test_scratch_is_sick_when_it_gives_back_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: b"something else")
        with pytest.raises(OSError, match="doesn't give back"):
            write_and_read(tmp_path)
    assert list(tmp_path.iterdir()) == []
