"""Encoders: OpenVINO's is held to CTranslate2's, whatever the model's size, and chosen only where it is faster."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

import demo
from demo import SAMPLES
from transcription.errors import ModelUnavailable
from transcription.media.codecs.decode import decode
from transcription.settings import Settings, Worker
from worker.engines import faster_whisper
from worker.engines.cpu_layout import CpuLayout
from worker.engines.encoders import selection
from worker.engines.encoders.compiled import digest
from worker.engines.encoders.ctranslate2 import CTranslate2Encoder
from worker.engines.row import Floats

openvino = pytest.importorskip("worker.engines.encoders.openvino", reason="OpenVINO isn't installed")

LAYOUT = CpuLayout(workers=2, threads=1, batch=4)
TOLERANCE = {"f32": 0.001, "bf16": 0.02, "int8": 0.05}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.export_ct2(tmp_path_factory.mktemp("models") / "demo")


@pytest.fixture(scope="module")
def window() -> Floats:
    features = FeatureExtractor()(decode(SAMPLES["short"].path, limit_s=30))
    return np.pad(features, ((0, 0), (0, 3000)))[np.newaxis, :, :3000].astype(np.float32)


def settings(data: Path, **worker: Any) -> Settings:
    return Settings(data_dir=data, device="cpu", worker=Worker(**worker))


def error(found: Floats, wanted: Floats) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


@pytest.fixture(scope="module")
def references(model: Path, window: Floats) -> list[tuple[Floats, Floats]]:
    """A whole window, and two that are shorter: features, and what CTranslate2 makes of them in float32."""
    reference = CTranslate2Encoder(ctranslate2.models.Whisper(str(model), compute_type="float32"))
    given = [window, np.ascontiguousarray(np.concatenate([window, window[:, :, ::-1]])[:, :, :1000])]
    return [(features, reference.encode(features)) for features in given]


@pytest.mark.parametrize("precision", TOLERANCE)
def test_encodings_are_those_of_ctranslate2_in_float32(
    model: Path, references: list[tuple[Floats, Floats]], tmp_path: Path, precision: str
) -> None:
    encoder = openvino.OpenVinoEncoder(model, openvino.Plan(precision, 1, 1), tmp_path)
    assert references
    for features, wanted in references:
        found = encoder.encode(features)
        assert found.shape == wanted.shape == (features.shape[0], features.shape[2] // 2, wanted.shape[2])
        assert error(found, wanted) < TOLERANCE[precision]


@pytest.fixture(scope="module")
def written(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is heard with CTranslate2's encoder."""
    return said(model, settings(tmp_path_factory.mktemp("own"), encoder="ctranslate2"), "CTranslate2")


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_the_same_words_are_written_whatever_encodes(model: Path, written: str, tmp_path: Path, precision: str) -> None:
    chosen = settings(tmp_path, encoder="openvino", encoder_precision=precision)
    assert written
    assert said(model, chosen, f"OpenVINO {precision}") == written


def said(model: Path, chosen: Settings, encoder: str) -> str:
    engine = faster_whisper.load("demo", model, chosen)
    try:
        assert engine.encoder.startswith(encoder)
        return heard(engine)
    finally:
        engine.close()


def heard(engine: faster_whisper.FasterWhisper) -> str:
    from transcription.options import Options
    from transcription.spans import windows
    from worker.audio.speech import detect_speech
    from worker.audio.windows import Window

    samples = decode(SAMPLES["short"].path, limit_s=30)
    speech = windows(detect_speech(samples))
    written = engine.transcribe(
        (Window.collect(group, samples) for group in speech), Options().decoding(),
        language="en", owner="test", cancelled=lambda: False,
    )  # fmt: skip
    return "".join(segment.text for segments in written for segment in segments)


def test_ctranslate2_loads_no_encoder_where_another_encodes(model: Path, tmp_path: Path) -> None:
    encoder, loaded, reason = selection.select(
        model, settings(tmp_path, encoder="openvino", encoder_precision="int8"), LAYOUT, device="cpu"
    )
    assert encoder is not None
    assert reason == "by the settings"
    assert loaded != model
    names = openvino.ModelBin(loaded / "model.bin").names()
    assert not [name for name in names if name.startswith("encoder/layer_1/")]
    assert [name for name in names if name.startswith("decoder/layer_1/")]


def test_what_was_compiled_is_taken_over_and_made_anew_when_it_is_damaged(
    model: Path, window: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = openvino.Plan("int8", 1, 1)
    first = openvino.OpenVinoEncoder(model, plan, tmp_path)
    built: list[int] = []
    graph = openvino.encoder_graph
    monkeypatch.setattr(openvino, "encoder_graph", lambda *a, **k: (built.append(1), graph(*a, **k))[1])
    again = openvino.OpenVinoEncoder(model, plan, tmp_path)
    assert not built
    assert np.array_equal(first.encode(window), again.encode(window))
    (again.decoder / openvino.GRAPH).write_bytes(b"damaged")
    mended = openvino.OpenVinoEncoder(model, plan, tmp_path)
    assert built == [1]
    assert np.array_equal(first.encode(window), mended.encode(window))


def test_what_an_earlier_version_has_compiled_is_made_anew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, earlier = openvino.Plan("int8", 1, 1), tmp_path / "earlier.py"
    earlier.write_text("# an earlier version of what makes the graph")
    theirs = openvino.OpenVinoEncoder(model, plan, tmp_path).decoder
    monkeypatch.setattr(openvino.model_bin, "__file__", str(earlier))
    assert openvino.OpenVinoEncoder(model, plan, tmp_path).decoder != theirs


def test_what_no_start_has_asked_for_in_a_month_is_removed(model: Path, tmp_path: Path) -> None:
    def compiled(precision: str) -> Path:
        return openvino.OpenVinoEncoder(model, openvino.Plan(precision, 1, 1), tmp_path).decoder

    def unused(place: Path, days: float) -> None:
        used = time.time() - days * 86_400
        os.utime(place, (used, used))

    own, recent, old = (compiled(precision) for precision in ("int8", "bf16", "f32"))
    for place, days in ((own, 31), (recent, 29), (old, 31)):
        unused(place, days)
    unfinished = tmp_path / ".a-model.draft"
    unfinished.mkdir()
    unused(unfinished, 31)
    assert compiled("int8") == own, "what a start asks for is in use again"
    assert own.is_dir()
    assert recent.is_dir()
    assert not old.exists()
    assert unfinished.is_dir(), "its process holds a lock of another name"


def test_other_weights_of_the_same_size_have_an_encoder_of_their_own(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    content = bytearray((other / "model.bin").read_bytes())
    content[len(content) // 2 :] = reversed(content[len(content) // 2 :])
    (other / "model.bin").write_bytes(content)
    assert digest(model, "x") != digest(other, "x")


def test_processes_that_start_at_once_compile_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    graph = openvino.encoder_graph
    monkeypatch.setattr(openvino, "encoder_graph", lambda *a, **k: (built.append(1), graph(*a, **k))[1])
    threads = [
        threading.Thread(target=openvino.OpenVinoEncoder, args=(model, openvino.Plan("bf16", 1, 1), tmp_path))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]


class Named:
    """An encoder of OpenVINO's that isn't asked to encode, and needn't be compiled."""

    def __init__(self, directory: Path, plan: Any, _: Path) -> None:
        self.label, self.decoder = f"OpenVINO {plan.precision}", directory

    def encode(self, features: Floats) -> Floats:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({"CTranslate2 int8_float32": 1.0, "OpenVINO int8": 0.4, "OpenVINO bf16": 0.5}, "int8"),
        ({"CTranslate2 int8_float32": 1.0, "OpenVINO int8": 0.6, "OpenVINO bf16": 0.5}, "bf16"),
        ({"CTranslate2 int8_float32": 0.4, "OpenVINO int8": 0.39, "OpenVINO bf16": 0.5}, ""),
    ],
)
def test_the_fastest_is_taken_and_remembered_and_none_that_is_slower_than_ctranslate2(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], taken: str
) -> None:
    asked: list[str] = []

    def timed(encode: Any, _directory: Path) -> float:
        asked.append(encode.__self__.label)
        return seconds[asked[-1]]

    monkeypatch.setattr(selection, "_seconds", timed)
    monkeypatch.setattr(openvino, "OpenVinoEncoder", Named)
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    for _ in range(2):
        encoder, _loaded, reason = selection.select(model, settings(tmp_path), LAYOUT, device="cpu")
        assert (encoder.label if encoder else "") == (f"OpenVINO {taken}" if taken else "")
        assert "as fast as CTranslate2" in reason
    assert len(asked) == 3
    (note,) = (tmp_path / "encoders").glob("*.json")
    assert json.loads(note.read_text())["precision"] == taken


def test_another_machine_measures_for_itself_and_a_gain_within_the_error_is_none(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def timed(encode: Any, _directory: Path) -> float:
        asked.append(encode.__self__.label)
        return {"CTranslate2 int8_float32": 0.42, "OpenVINO int8": 0.4, "OpenVINO bf16": 0.5}[asked[-1]]

    monkeypatch.setattr(selection, "_seconds", timed)
    monkeypatch.setattr(openvino, "OpenVinoEncoder", Named)
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    for layout, processor in ((LAYOUT, "one"), (replace(LAYOUT, threads=2), "one"), (LAYOUT, "another")):
        monkeypatch.setattr(openvino, "processor", lambda processor=processor: processor)
        assert selection.select(model, settings(tmp_path), layout, device="cpu").encoder is None
    assert len(asked) == 9


def test_encoder_that_the_settings_name_has_a_replica_for_each_of_the_batcher_s_threads(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []

    def made(directory: Path, plan: Any, _: Path) -> SimpleNamespace:
        plans.append(plan)
        return SimpleNamespace(decoder=directory)

    monkeypatch.setattr(openvino, "OpenVinoEncoder", made)
    asked = settings(tmp_path, encoder="openvino", encoder_precision="bf16")
    assert selection.select(model, asked, LAYOUT, device="cpu").reason == "by the settings"
    assert plans == [openvino.Plan("bf16", LAYOUT.workers + 1, LAYOUT.threads)]
    monkeypatch.setattr(openvino, "has_bf16", lambda: pytest.fail("it was looked at"))
    plain = settings(tmp_path, encoder="ctranslate2")
    assert selection.select(model, plain, LAYOUT, device="cpu") == (None, model, "by the settings")


def test_an_encoder_is_not_taken_for_slow_because_others_have_the_cores(model: Path) -> None:
    assert selection._seconds(lambda _: threading.Event().wait(0.2), model) < 0.1  # waits, and computes nothing


def test_a_processor_without_bfloat16_keeps_to_ctranslate2(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    reason = "this processor has no BF16"
    assert selection.select(model, settings(tmp_path), LAYOUT, device="cpu") == (None, model, reason)


def test_without_openvino_auto_keeps_to_ctranslate2_and_a_wish_for_it_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda _: None)
    assert selection.select(model, settings(tmp_path), LAYOUT, device="cpu") == (
        None,
        model,
        "OpenVINO isn't installed",
    )
    with pytest.raises(ModelUnavailable, match="OpenVINO isn't installed"):
        selection.select(model, settings(tmp_path, encoder="openvino"), LAYOUT, device="cpu")


def test_beside_a_preloaded_allocator_openvino_which_would_crash_is_left_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")
    chosen = selection.select(model, settings(tmp_path), LAYOUT, device="cpu")
    assert chosen.encoder is None
    assert "jemalloc" in chosen.reason
    with pytest.raises(ModelUnavailable, match="preloaded jemalloc"):
        selection.select(model, settings(tmp_path, encoder="openvino"), LAYOUT, device="cpu")


def test_a_gpu_and_float32_keep_to_ctranslate2(model: Path, tmp_path: Path) -> None:
    assert selection.select(model, settings(tmp_path), LAYOUT, device="cuda") == (None, model, "on cuda")
    exact = Settings(data_dir=tmp_path, device="cpu", compute_type="float32")
    assert selection.select(model, exact, LAYOUT, device="cpu") == (None, model, "MURMUR_COMPUTE_TYPE=float32")


def test_a_cache_that_cannot_be_written_costs_speed_and_not_the_job(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    (tmp_path / "encoders").write_text("in the way")
    encoder, loaded, reason = selection.select(model, settings(tmp_path), LAYOUT, device="cpu")
    assert (encoder, loaded) == (None, model)
    assert reason.startswith("OpenVINO failed: ")
    with pytest.raises(ModelUnavailable, match="can't encode"):
        selection.select(model, settings(tmp_path, encoder="openvino", encoder_precision="int8"), LAYOUT, device="cpu")


def test_a_process_has_one_core_that_is_never_let_go(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last one goes the stack that signals are handled on: processes of tests died of it."""
    kept = openvino._core()
    monkeypatch.setattr(openvino.ov, "Core", lambda: pytest.fail("another core"))
    openvino.OpenVinoEncoder(model, openvino.Plan("f32", 1, 1), tmp_path)
    assert openvino.processor()
    assert openvino.has_bf16() in {True, False}
    assert openvino._core() is kept
