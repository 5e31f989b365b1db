"""Which GPUs and instances there are, asked of NVIDIA's library through pynvml."""

import subprocess
import sys

import pytest

pytest.importorskip("pynvml", reason="the extra `cuda` isn't installed")

import pynvml

from tests.nvml import GONE, Card, machine_with
from transcription.observability import gpus as gpu_devices
from transcription.observability.gpus import VISIBLE, Gpu, devices, gpus, without_instances

WHOLE = Card("GPU-aaaa-1", used_bytes=10 << 20, total_bytes=40 << 20)
OTHER = Card("GPU-bbbb-2", used_bytes=11 << 20, total_bytes=41 << 20, busy=None)
SLICES = tuple(Card(f"MIG-{letter * 4}", used_bytes=1 << 20, total_bytes=9 << 20, busy=None) for letter in "cd")
DIVIDED = Card("GPU-aabb-3", instances=(SLICES[0], None, SLICES[1]))
UNDIVIDED = Card("GPU-eeee-4", instances=())


def named(*cards: Card, visible: str | None = None) -> list[str]:
    with machine_with(*cards):
        return [device.name for device in devices({} if visible is None else {VISIBLE: visible})]


def test_every_card_and_instance_is_a_device() -> None:
    assert named(WHOLE, DIVIDED, OTHER) == ["GPU-aaaa-1", "MIG-cccc", "MIG-dddd", "GPU-bbbb-2"]


def test_card_that_is_to_be_divided_and_has_no_instances_is_no_device_and_is_told() -> None:
    assert named(UNDIVIDED, WHOLE) == ["GPU-aaaa-1"]
    with machine_with(UNDIVIDED, WHOLE, DIVIDED):
        assert without_instances() == ["0"]


def test_card_that_was_lost_is_no_device_and_keeps_its_number() -> None:
    lost = Card("GPU-lost", error=GONE)
    assert named(lost, WHOLE) == ["GPU-aaaa-1"]
    assert named(lost, WHOLE, visible="1") == ["1"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", ["0"]),
        ("3,0", ["3", "0"]),
        (" 0 , 3 ", ["0", "3"]),
        ("0,9,3", ["0"]),  # CUDA sees nothing after a number that no card has
        ("0,-1,3", ["0"]),
        ("0,0", ["0"]),
        ("1", ["MIG-cccc", "MIG-dddd"]),
        ("2,0", ["0"]),  # a card without instances is there, but nobody can compute on it
        ("GPU-aaaa-1", ["GPU-aaaa-1"]),
        ("GPU-b", ["GPU-bbbb-2"]),
        ("GPU-aa", []),  # two begin like that
        ("GPU-zz,0", []),
        ("GPU-aabb", ["MIG-cccc", "MIG-dddd"]),
        ("MIG-dddd", ["MIG-dddd"]),
        ("MIG-dddd,MIG-cccc", ["MIG-dddd", "MIG-cccc"]),
        ("MIG-zzzz,0", []),
        ("MIG-GPU-aabb-3/1/0", ["MIG-GPU-aabb-3/1/0"]),
    ],
)
def test_visible_devices_are_read_as_cuda_does(visible: str, expected: list[str]) -> None:
    assert named(WHOLE, DIVIDED, UNDIVIDED, OTHER, visible=visible) == expected


def test_figures_are_those_of_visible_devices_and_a_missing_one_is_zero() -> None:
    silent = Card("GPU-ffff", used_bytes=None, busy=None)  # shares the machine's memory, and has no figure of its own
    with machine_with(WHOLE, DIVIDED, OTHER, silent):
        assert gpus({}) == [
            Gpu("0", 10 << 20, 40 << 20, 0.35),
            Gpu("1:0", 1 << 20, 9 << 20, 0.0),
            Gpu("1:2", 1 << 20, 9 << 20, 0.0),
            Gpu("2", 11 << 20, 41 << 20, 0.0),
            Gpu("3", 0, 0, 0.0),
        ]
        assert gpus({VISIBLE: "MIG-dddd"}) == [Gpu("1:2", 1 << 20, 9 << 20, 0.0)]
        assert gpus({VISIBLE: "2"}) == [Gpu("2", 11 << 20, 41 << 20, 0.0)]
        assert gpus({VISIBLE: ""}) == []


@pytest.mark.parametrize(
    "status",
    [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_NO_PERMISSION],
)
def test_without_a_driver_that_answers_there_are_no_devices(status: int) -> None:
    with machine_with(WHOLE, status=status):
        assert devices({}) == gpus({}) == without_instances() == []


def test_nothing_is_imported_for_a_driver_that_is_not_there() -> None:
    program = """
import sys
from transcription.observability import gpus
gpus.library_is_here = lambda: False
assert gpus.devices({}) == gpus.gpus({}) == gpus.without_instances() == []
assert "pynvml" not in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_without_the_extra_that_brings_pynvml_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine_with(WHOLE), monkeypatch.context() as patch:
        patch.setattr(gpu_devices, "_nvml", gpu_devices._nvml.__wrapped__)
        patch.setitem(sys.modules, "pynvml", None)
        assert devices({}) == gpus({}) == without_instances() == []
