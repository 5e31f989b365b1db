import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import pytest
from structlog.testing import capture_logs

import demo
from transcription.settings import Settings
from worker.engines import gpu
from worker.engines.choice import choose
from worker.engines.model_bin import ModelBin

GB = 1 << 30
LARGE = 2 * 32 * 1280 * 2 * gpu.POSITIONS
"""A window's bytes with large's 32 layers of 1280 features, in float16."""


@pytest.mark.parametrize(
    ("free", "row", "replicas", "batch"),
    [
        (None, LARGE, 2, 8),  # no driver says anything
        (100 << 20, LARGE, 1, 1),  # the batcher can't halve it; the model says then that there is no room
        (2 * GB, LARGE, 2, 3),
        (20 * GB, LARGE, 2, 31),
        (20 * GB, LARGE, 4, 15),
        (130 * GB, LARGE, 2, 32),
        (8 * GB, 0, 2, 32),
    ],
)
def test_the_batch_follows_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int | None, row: int, replicas: int, batch: int
) -> None:
    monkeypatch.setattr(gpu, "free_bytes", lambda _: free)
    assert gpu.batch_of(row, replicas=replicas) == batch


def test_a_window_of_large_takes_what_was_measured() -> None:
    measured = ((17.5e9 - 4.4e9) / 48, (21.7e9 - 4.4e9) / 64)
    assert pytest.approx(measured[0], rel=0.02) == LARGE
    assert pytest.approx(measured[1], rel=0.02) == LARGE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> ModelBin:
    directory: Path = demo.export_ct2(tmp_path_factory.mktemp("model"))
    return ModelBin(directory / "model.bin")


@pytest.mark.parametrize(
    ("compute_type", "size"),
    [("float16", 2), ("bfloat16", 2), ("int8_float16", 2), ("float32", 4), ("int8_float32", 4), ("int8", 4)],
)
def test_a_window_takes_the_decoders_layers_and_width_in_the_bytes_of_its_type(
    weights: ModelBin, compute_type: str, size: int
) -> None:
    width = weights.raw("decoder/embeddings/weight").shape[1]
    layers = sum(name.endswith("ffn/linear_0/bias") for name in weights.names() if name.startswith("decoder"))
    assert layers
    assert gpu.row_bytes_of(weights, compute_type) == 2 * layers * width * size * gpu.POSITIONS


def test_without_a_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpu.free_bytes() is None
    assert gpu.of_driver() is None
    assert gpu.works(), "nobody says that it doesn't"


class Driver:
    """What libcuda.so.1 answers on a machine with a GPU; *failing* names the call that doesn't."""

    def __init__(self, failing: str = "") -> None:
        self._failing = failing

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*given: Any) -> int:
            if name == "cuDriverGetVersion":
                given[0]._obj.value = 13020
            if name == "cuDeviceGetAttribute" and given[1] == 75:
                given[0]._obj.value = 9
            return 100 if name == self._failing else 0

        return call


def test_the_driver_says_its_cuda_and_the_gpus_capability_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver())
    assert gpu.of_driver() == (13, 9)
    for failing in ("cuInit", "cuDriverGetVersion", "cuDeviceGet", "cuDeviceGetAttribute"):
        monkeypatch.setattr(ctypes, "CDLL", lambda _, failing=failing: Driver(failing))
        assert gpu.of_driver() is None


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a card that CTranslate2 counts."""
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: {"float16", "int8"})
    told = (gpu._has_cublas, gpu._warn_of_missing_cublas)
    for one in told:
        one.cache_clear()
    yield
    for one in told:
        one.cache_clear()


def libraries(monkeypatch: pytest.MonkeyPatch, *there: str) -> list[str]:
    """Let only *there* be opened; the list gets all that somebody wanted."""
    asked: list[str] = []

    def opened(name: str) -> None:
        asked.append(name)
        if name not in there:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", opened)
    return asked


def faster_whisper(device: str = "auto") -> tuple[str, str]:
    chosen = choose(Settings.model_validate({"device": device, "worker": {"engine": "faster_whisper"}}))
    return chosen.device, chosen.compute_type


@pytest.mark.usefixtures("card")
def test_a_card_whose_library_is_missing_is_left_and_that_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    libraries(monkeypatch)
    with capture_logs() as said:
        assert [faster_whisper() for _ in range(2)] == [("cpu", "int8")] * 2
    (line,) = said
    assert (line["log_level"], line["library"]) == ("warning", "libcublas.so.12")
    assert "requirements/cuda.txt" in line["event"]


@pytest.mark.usefixtures("card")
def test_who_asks_for_the_card_or_computes_in_torch_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    libraries(monkeypatch)
    with capture_logs() as said:
        assert faster_whisper("cuda") == ("cuda", "float16")
        assert choose(Settings.model_validate({"worker": {"engine": "torch"}})).device == "cuda"
    assert said == []


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_the_library_of_nvidias_package_is_opened_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(gpu, "find_spec", {"nvidia": SimpleNamespace(submodule_search_locations=[str(tmp_path)])}.get)
    packaged = str(tmp_path / "cublas" / "lib" / gpu.CUBLAS)
    asked = libraries(monkeypatch, packaged)
    assert faster_whisper(device) == ("cuda", "float16")
    assert asked == [gpu.CUBLAS, packaged]


@pytest.mark.usefixtures("card")
def test_the_loaders_own_library_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = libraries(monkeypatch, gpu.CUBLAS)
    assert faster_whisper() == ("cuda", "float16")
    assert asked == [gpu.CUBLAS]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is built without a GPU")
def test_the_library_is_the_one_that_the_installed_ctranslate2_opens() -> None:
    (library,) = Path(ctranslate2.__file__).parents[1].glob("ctranslate2.libs/libctranslate2-*")
    assert f"{gpu.CUBLAS}\0".encode() in library.read_bytes()


@pytest.mark.parametrize(
    ("failing", "works"),
    [
        ("", True),
        ("cuMemGetInfo_v2", True),
        ("cuCtxSynchronize", False),  # an illegal memory access of before
        ("cuDevicePrimaryCtxRetain", False),  # a card that fell off its bus
        ("cuCtxPushCurrent_v2", False),
        ("cuInit", False),
    ],
)
def test_a_gpu_works_whose_driver_waits_for_it_without_an_error(
    monkeypatch: pytest.MonkeyPatch, failing: str, works: bool
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(failing))
    assert gpu.works() is works
    assert (gpu.free_bytes() is None) is (failing not in ("", "cuCtxSynchronize"))
