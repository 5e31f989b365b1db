import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import demo
from worker.engines import gpu
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
