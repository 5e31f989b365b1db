"""Which weights a model has: read by the worker that has them, and remembered by the sizes and times of their files."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from api.jobs.catalogue import Catalogue
from demo import REVISION
from transcription.errors import ModelUnavailable
from transcription.models import ModelRef
from transcription.ports import Backlog
from transcription.settings import Settings, Worker
from transcription.storage.model_revision import ModelRevisions
from worker.model_cache import ModelCache
from worker.revisions import Revisions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory in CTranslate2's form."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json", "README.md"):
        (directory / name).write_bytes(name.encode())
    return directory


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "models" / "revisions.json"


@pytest.mark.parametrize("weights", ["model.bin", "model.safetensors", "pytorch_model.bin", "weights.npz"])
@pytest.mark.parametrize("changed", ["the weights", "tokenizer.json"])
def test_changed_files_are_another_revision_in_every_form_of_directory(
    model: Path, memory: Path, weights: str, changed: str
) -> None:
    (model / "model.bin").rename(model / weights)
    revisions, before = ModelRevisions(memory), ModelRevisions(memory).of(model)
    assert len(before) == 16
    path = model / (weights if changed == "the weights" else changed)
    path.write_bytes(path.read_bytes()[::-1])  # as long as before
    os.utime(path, ns=(1, 1))
    assert revisions.of(model) not in ("", before)


def test_what_is_not_read_changes_nothing_and_the_same_weights_elsewhere_are_the_same(
    model: Path, memory: Path, tmp_path: Path
) -> None:
    before = ModelRevisions(memory).of(model)
    (model / "README.md").write_bytes(b"rewritten")
    model.rename(tmp_path / "elsewhere")
    assert ModelRevisions(memory).of(tmp_path / "elsewhere") == before


def test_snapshot_of_a_hub_is_read_through_its_links(model: Path, memory: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for path in model.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert ModelRevisions(memory).of(snapshot) == ModelRevisions(memory).of(model)


def test_weights_are_read_once_also_by_the_next_process(
    model: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ModelRevisions(memory).of(model)

    def read(*_: object) -> None:
        pytest.fail("they were read again")

    monkeypatch.setattr(hashlib, "file_digest", read)
    assert ModelRevisions(memory).of(model) == before


def test_folder_without_weights_has_no_revision_and_a_broken_memory_costs_one_reading(
    model: Path, memory: Path, tmp_path: Path
) -> None:
    assert ModelRevisions(memory).of(tmp_path) == ""
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_bytes(b"[not what it was")
    assert ModelRevisions(memory).of(model)


class Engine:
    name, device, compute_type, steps = "fake", "cpu", "none", 0

    def close(self) -> None:
        return


def cache_of(tmp_path: Path, **worker: Any) -> ModelCache:
    settings = Settings(data_dir=tmp_path / "data", worker=Worker(**worker))
    return ModelCache(settings, load=lambda *_: Engine())  # type: ignore[arg-type,return-value]


def test_revision_is_that_of_the_weights_in_memory_until_they_are_loaded_anew(model: Path, tmp_path: Path) -> None:
    name, cache = str(model), cache_of(tmp_path, max_models=1)
    before = cache.revision(name)
    with cache.get(name):
        (model / "model.bin").write_bytes(b"quite other weights")
        assert cache.revision(name) == before != ""
    assert cache.revision(name) == before
    with cache.get("another"):
        assert cache.revision(name) != before
    after = cache.revision(name)
    with cache.get(name):
        assert cache.revision(name) == after


def test_weights_that_are_exchanged_while_they_are_loaded_are_neither_the_ones_nor_the_others(
    model: Path, tmp_path: Path
) -> None:
    def load(*_: object) -> Any:
        (model / "model.bin").write_bytes(b"quite other weights")
        return Engine()

    cache = ModelCache(Settings(data_dir=tmp_path / "data"), load=load)
    before = cache.revision(str(model))
    with cache.get(str(model)):
        assert cache.revision(str(model)).split("-") == [before, cache._disk_revision(str(model))]


def test_model_that_is_not_on_this_host_yet_has_no_revision_and_the_demo_its_own(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    revisions = Revisions(cache.revision, ("base", "/nowhere", "demo"))
    revisions.check()
    assert revisions.known == {"demo": REVISION}


def test_weights_that_are_exchanged_are_told_whatever_went_wrong_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.revisions.LOOK_INTERVAL_S", 0.001)
    found = iter(("first", OSError("EIO"), "second", SystemExit()))

    def revision(_: str) -> str:
        one = next(found)
        if isinstance(one, str):
            return one
        raise one

    revisions = Revisions(revision, ("base",))
    with pytest.raises(SystemExit):
        revisions.run()
    assert revisions.known == {"base": "second"}


@pytest.mark.parametrize(
    ("said", "revision"), [({"demo": "by the worker"}, "by the worker"), ({}, REVISION), ({"base": "b"}, REVISION)]
)
def test_api_takes_the_revision_that_a_worker_said(said: dict[str, str], revision: str) -> None:
    class View:
        last_workers = ()

        async def now(self) -> Backlog:
            return Backlog(pending_spans=0, pending_audio_s=0.0, running_spans=0, oldest_age_s=None, revisions=said)

    found = asyncio.run(Catalogue(Settings(model="demo"), View()).resolve(None))  # type: ignore[arg-type]
    assert found == ModelRef("demo", revision)


def test_model_that_cannot_be_read_has_no_revision(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path)
    for error in (OSError("EIO"), ModelUnavailable("no MLX here")):

        def failing(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(cache._on_disk, "of", failing)
        assert cache.revision(str(model)) == ""
