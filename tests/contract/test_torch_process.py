"""What the engine in torch asks of the process that it is loaded in, and that it isn't the worker's."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch

import demo
from tests.contract.test_torch_fidelity import settings_of
from tests.platform import eventually
from transcription.errors import ModelUnavailable, Stopped
from transcription.settings import Worker
from worker.engines import choice
from worker.engines.base import Engine
from worker.engines.torch import engine
from worker.engines.torch.device import loading
from worker.engines.torch.device.files import NotWhisper
from worker.engines.torch.stages import TorchStages


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.export_ct2(tmp_path_factory.mktemp("model") / "ct2")


def test_on_a_cpu_workers_of_one_host_share_its_cores(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(loading, "available", lambda *, sharers=1: 12 // sharers)
    settings = settings_of("torch", tmp_path).model_copy(update={"worker": Worker(host_workers=3)})
    loaded, _ = loading.load("demo", model, settings, device="cpu", compute_type="float32", kept=32)
    loaded.stop()
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
    monkeypatch.setattr(loading, "read_network", none)
    with pytest.raises(ModelUnavailable, match="no card to read it to"):
        loading.load("demo", model, settings_of("torch", tmp_path), device="cuda", compute_type="float32", kept=32)
    assert intervals == [loading.SWITCH_S]
    assert sys.getswitchinterval() > loading.SWITCH_S


def test_a_worker_needs_no_torch_and_writes_down_what_its_model_s_process_hears(model: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from demo import SAMPLES
from transcription.media.codecs.decode import decode
from transcription.options import Decoding
from transcription.settings import Settings
from worker.audio.windows import Window
from worker.engines.choice import load
from transcription.spans import windows
from worker.audio.speech import detect_speech
settings = Settings(data_dir={str(tmp_path)!r}, device="cpu", worker={{"engine": "torch"}})
engine = load("demo", settings, locate=lambda *_: Path({str(model)!r}))
samples = decode(SAMPLES["short"].path, limit_s=30)
given = [Window.collect(group, samples) for group in windows(detect_speech(samples))]
written = engine.transcribe(given, Decoding(), language="en", owner="", cancelled=lambda: False)
print("".join(segment.text for segments in written for segment in segments))
assert "torch" not in sys.modules
engine.close()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "close a old camera" in ran.stdout


def test_calls_whose_model_s_process_dies_are_calls_to_a_lost_device(model: Path, tmp_path: Path) -> None:
    settings = settings_of("torch", tmp_path)
    loaded = choice.load("demo", settings, locate=lambda *_: model)
    try:
        process = loaded._whisper.model._process  # type: ignore[attr-defined]
        process.kill()
        process.wait()
        threading.Thread(target=detect, args=[loaded], daemon=True).start()
        (call,) = eventually(loaded.calls)
        assert "its process has ended with exit status -9" in eventually(lambda: call.lost or loaded.calls()[0].lost)
        assert call.owners == {"somebody"}
    finally:
        loaded.close()


def detect(loaded: Engine) -> None:
    with suppress(Stopped):
        loaded.detect_language(np.zeros(16_000, np.float32), owner="somebody")
