"""Where a model's files are had: on the disk, from the hub, made here."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from structlog.testing import capture_logs

import demo
from demo import SPEAKER_NETWORK
from transcription.errors import ModelUnavailable
from transcription.settings import Settings, Worker
from worker import model_cache
from worker.diarizers import choice as diarizers
from worker.download_models import fetch
from worker.model_cache import locate


def test_the_demo_model_is_made_on_first_use_without_the_network(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    directory = locate("demo", settings)
    assert directory == settings.model_dir / f"demo-{demo.REVISION}"
    assert (directory / "model.bin").is_file()
    assert locate(str(directory), settings) == directory


def test_a_model_s_directory_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "whisper").mkdir()
    assert locate("~/whisper", Settings()) == tmp_path / "whisper"


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-model"])
def test_a_name_that_means_nothing_is_told_what_there_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"neither `demo`, nor a directory.*large-v3"):
        locate(name, Settings(data_dir=tmp_path))


def test_auto_is_no_model_where_nobody_decides(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="say in MURMUR_MODEL which model"):
        locate("auto", Settings(data_dir=tmp_path))


def test_every_served_model_is_made_ready_before_workers_start(tmp_path: Path) -> None:
    with capture_logs() as said:
        assert fetch(Settings(data_dir=tmp_path, model="demo"))
    assert (tmp_path / "models" / f"demo-{demo.REVISION}" / "model.bin").is_file()
    assert {line["log_level"] for line in said} == {"info"}
    with capture_logs() as said:
        assert not fetch(Settings(data_dir=tmp_path, model="/nowhere", models=("demo", "auto")))
    assert {line["model"]: "MURMUR_MODEL" in line["error"] for line in said if line["log_level"] == "critical"} == {
        "/nowhere": False,
        "auto": True,
    }


def test_torch_finds_what_was_made_ready_for_it(tmp_path: Path) -> None:
    """It reads the files that faster-whisper reads; a worker in a cluster has no way to the hub."""
    assert fetch(Settings(data_dir=tmp_path, model="demo", worker=Worker(engine="torch")))
    assert (tmp_path / "models" / f"demo-{demo.REVISION}" / "model.bin").is_file()


def test_a_speaker_network_is_made_ready_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []

    def located(name: str, *, cache: Path) -> Path:
        asked.append((name, cache))
        if name == "nobody":
            raise ModelUnavailable("the hub doesn't give it")
        return SPEAKER_NETWORK

    monkeypatch.setattr(diarizers, "located", located)
    known, unknown = (
        Settings(data_dir=tmp_path, model="demo", worker=Worker(diarizer=name)) for name in ("wespeaker", "nobody")
    )
    assert fetch(known)
    assert not fetch(unknown)
    assert asked == [("wespeaker", known.model_dir), ("nobody", known.model_dir)]


@pytest.mark.parametrize("where", ["/networks/net.onnx", "~/net.onnx", "./net.onnx", "sherpa:/networks/sherpa"])
def test_files_of_speakers_that_only_workers_have_keep_no_worker_from_its_start(tmp_path: Path, where: str) -> None:
    assert fetch(Settings(data_dir=tmp_path, model="demo", worker=Worker(diarizer=where)))


def test_an_engine_of_ones_own_gets_its_models_itself(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model="theirs", worker=Worker(engine="tests.chaos.stub_engine:load"))
    assert fetch(settings)


def test_a_published_model_is_fetched_into_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not here")
        return str(tmp_path)

    monkeypatch.setattr(model_cache, "download_model", download)
    settings = Settings(data_dir=tmp_path)
    assert locate("base", settings) == tmp_path
    assert [call.get("local_files_only", False) for call in asked] == [True, False]
    assert {call["cache_dir"] for call in asked} == {str(settings.model_dir)}


def test_a_download_that_was_cut_is_no_model_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def download(name: str, *, local_files_only: bool = False, **_: object) -> str:
        asked.append(local_files_only)
        if not local_files_only:
            (tmp_path / "model.bin").touch()
        return str(tmp_path)

    monkeypatch.setattr(model_cache, "download_model", download)
    for _ in range(2):
        assert locate("base", Settings(data_dir=tmp_path)) == tmp_path
    assert asked == [True, False, True]


@pytest.mark.parametrize("said", ["cannot find the files on the hub", ""])
def test_without_a_hub_a_published_model_is_unavailable_and_the_message_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError(said)

    monkeypatch.setattr(model_cache, "download_model", download)
    expected = said or "LocalEntryNotFoundError"
    with pytest.raises(ModelUnavailable, match=rf"{expected}.*MURMUR_MODEL=demo"):
        locate("base", Settings(data_dir=tmp_path))


def test_a_directory_without_a_tokenizer_never_asks_the_hub_for_one(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        model_cache.load(str(tmp_path), Settings())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="can't be loaded on"):
        model_cache.load(str(tmp_path), Settings(device="cpu"))
