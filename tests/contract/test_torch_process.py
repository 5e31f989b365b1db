"""What the engine in torch asks of the process that it is loaded in."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch

import demo
from tests.contract.test_torch_fidelity import settings_of
from transcription.errors import ModelUnavailable
from transcription.settings import Worker
from worker.engines import choice
from worker.engines.torch import engine
from worker.engines.torch.files import NotWhisper
from worker.engines.torch.stages import TorchStages


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.export_ct2(tmp_path_factory.mktemp("model") / "ct2")


def test_on_a_cpu_workers_of_one_host_share_its_cores(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(engine, "available", lambda *, sharers=1: 12 // sharers)
    settings = settings_of("torch", tmp_path).model_copy(update={"worker": Worker(host_workers=3)})
    loaded = engine.load("demo", model, settings, device="cpu", compute_type="float32", spans=8)
    loaded.close()
    assert threads == [4]


@pytest.mark.parametrize(("spans", "kept"), [(8, 32), (200, 200)])
def test_as_many_encodings_are_kept_as_spans_may_come_back_for_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: int, kept: int
) -> None:
    told: list[int] = []

    class Stages(TorchStages):
        def __init__(self, whisper: Any, *, kept: int, **how: Any) -> None:
            told.append(kept)
            super().__init__(whisper, kept=kept, **how)

    monkeypatch.setattr(engine, "TorchStages", Stages)
    settings = settings_of("torch", tmp_path).model_copy(update={"worker": Worker(engine="torch", slots=spans)})
    choice.load("demo", settings, locate=lambda *_: model).close()
    assert told == [kept]


def test_the_thread_that_feeds_a_card_is_not_kept_from_python(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise NotWhisper("no card to read it to")

    intervals: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(engine, "read_network", none)
    with pytest.raises(ModelUnavailable, match="no card to read it to"):
        engine.load("demo", model, settings_of("torch", tmp_path), device="cuda", compute_type="float32", spans=8)
    assert intervals == [engine.SWITCH_S]
    assert sys.getswitchinterval() > engine.SWITCH_S
