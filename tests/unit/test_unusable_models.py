"""Models and devices that can't be used: one sentence why, and an error after which another worker is asked."""

import shutil
import struct
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
from structlog.testing import capture_logs

pytest.importorskip("pynvml", reason="the extra `cuda` isn't installed")

import demo
from murmur.errors import CliError
from murmur.platform.preflight import model_name
from tests.nvml import Card, machine_with
from transcription.errors import Fault, ModelUnavailable
from transcription.settings import Settings
from worker import model_cache
from worker.engines import faster_whisper, gpu


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.export_ct2(tmp_path_factory.mktemp("whole"))


def refused(directory: Path, **settings: Any) -> str:
    """The sentence with which the model in *directory* is refused."""
    given = {"device": "cpu", "worker": {"engine": "faster_whisper", "encoder": "ctranslate2"}} | settings
    with pytest.raises(ModelUnavailable) as caught:
        model_cache.load(str(directory), Settings.model_validate(given))
    error = caught.value
    assert (error.fault, error.retryable) == (
        Fault.PLATFORM,
        True,
    )  # it uses up no attempt, and another worker is asked
    assert "\n" not in error.message
    return error.message


def copy(whole: Path, target: Path, content: bytes) -> Path:
    shutil.copytree(whole, target)
    (target / "model.bin").write_bytes(content)
    return target


@pytest.mark.parametrize("encoder", ["ctranslate2", "openvino", "auto"])
def test_half_the_weights_are_refused(whole: Path, tmp_path: Path, encoder: str) -> None:
    if encoder == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO isn't installed: it has wheels for x86-64 alone")
    content = (whole / "model.bin").read_bytes()
    halved = copy(whole, tmp_path / "halved", content[: len(content) // 2])
    said = refused(halved, worker={"engine": "faster_whisper", "encoder": encoder})
    assert str(halved) in said


def test_another_architecture_is_refused(whole: Path, tmp_path: Path) -> None:
    content, name = (whole / "model.bin").read_bytes(), b"TransformerSpec\0"
    other = copy(whole, tmp_path / "other", content[:4] + struct.pack("<H", len(name)) + name + content[6 + 12 :])
    assert str(other) in refused(other)


@pytest.mark.parametrize("missing", ["model.bin", "tokenizer.json"])
def test_a_directory_without_a_file_that_is_needed_is_refused_by_its_name(
    whole: Path, tmp_path: Path, missing: str
) -> None:
    shutil.copytree(whole, tmp_path / "partial")
    (tmp_path / "partial" / missing).unlink()
    assert f"has no {missing}" in refused(tmp_path / "partial")


def test_a_type_that_the_device_lacks_is_refused(whole: Path) -> None:
    missing = {"float16", "bfloat16", "int8_float16"} - ctranslate2.get_supported_compute_types("cpu")
    if not missing:
        pytest.skip("this processor computes in every type")
    said = refused(whole, compute_type=missing.pop())
    assert "efficient" in said


@pytest.mark.parametrize(
    ("error", "cards", "said"),
    [
        (
            "CUDA failed with error out of memory",
            (Card("GPU-a", used_bytes=79 << 30),),
            "doesn't fit: the GPU has 1024 of 81920 MiB free; end what else uses the device's memory",
        ),
        ("CUDA failed with error out of memory", (), "doesn't fit; end what else uses the device's memory"),
        (
            "CUDA failed with error CUDA driver version is insufficient for CUDA runtime version",
            (Card("GPU-a"),),
            "the GPU's driver is too old for CTranslate2, update it",
        ),
        (
            "Requested float16 compute type, but the target device does not support efficient float16 computation.",
            (Card("GPU-a"),),
            "does not support efficient float16",
        ),
        ("Library libcublas.so.12 is not found\nor cannot be loaded", (Card("GPU-a"),), "libcublas.so.12 is not found"),
    ],
    ids=["filled", "filled-unseen", "old-driver", "type", "library"],
)
def test_what_a_gpu_says_becomes_one_sentence(
    whole: Path, monkeypatch: pytest.MonkeyPatch, error: str, cards: tuple[Card, ...], said: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(faster_whisper, "WhisperModel", fail)
    with machine_with(*cards):
        assert said in refused(whole, device="cuda", compute_type="float16")


@pytest.mark.parametrize(
    ("supported", "compute_type"),
    [
        ({"float16", "float32", "int8"}, "float16"),
        ({"float32", "int8", "int8_float32"}, "float32"),
        (RuntimeError("driver"), "float16"),
    ],
)
def test_a_card_without_float16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, supported: set[str] | Exception, compute_type: str
) -> None:
    def types(_: str) -> set[str]:
        if isinstance(supported, Exception):
            raise supported
        return supported

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", types)
    assert gpu.arithmetic(Settings()) == ("cuda", compute_type)
    assert gpu.arithmetic(Settings(compute_type="int8")) == ("cuda", "int8")


@pytest.mark.parametrize(("cards", "warnings"), [((Card("GPU-a"),), 1), ((), 0)])
def test_a_gpu_that_stays_idle_is_told_once(
    monkeypatch: pytest.MonkeyPatch, cards: tuple[Card, ...], warnings: int
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    gpu._warn_of_idle_gpus.cache_clear()
    with machine_with(*cards), capture_logs() as said:
        assert [gpu.arithmetic(Settings())[0] for _ in range(2)] == ["cpu", "cpu"]
    assert len([line for line in said if line["log_level"] == "warning" and line["gpus"] == ["0"]]) == warnings
    gpu._warn_of_idle_gpus.cache_clear()


def test_a_directory_of_hugging_faces_is_for_torch_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert model_name(str(tmp_path), engine="torch") == str(tmp_path)
    with pytest.raises(CliError, match="MURMUR_WORKER__ENGINE=torch reads what is there"):
        model_name(str(tmp_path))
