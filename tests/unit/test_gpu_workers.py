"""`murmur up` on a machine with GPUs: who gets which."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("pynvml", reason="the extra `cuda` isn't installed")

from murmur.cli.main import app
from murmur.platform import up as running
from murmur.platform.local import LocalPlatform, PlatformConfig
from tests.nvml import Card, machine_with
from transcription.observability.gpus import VISIBLE
from transcription.settings import Settings, Worker

SLICES = Card("MIG-cccc"), Card("MIG-dddd")
CARDS = Card("GPU-aaaa"), Card("GPU-bbbb", instances=SLICES), Card("GPU-eeee", instances=())


@pytest.fixture
def asked_of_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PlatformConfig]:
    """Every layout that `murmur up` would have run, in a directory without settings."""
    layouts: list[PlatformConfig] = []

    def noted(_: Settings, layout: PlatformConfig, __: Any) -> None:
        layouts.append(layout)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(running, "up", noted)
    return layouts


def up(*arguments: str) -> str:
    ran = CliRunner().invoke(app, ["up", *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.output


def environments(layout: PlatformConfig, data: Path, worker: Worker | None = None) -> list[Mapping[str, str]]:
    """What each worker of *layout* would get."""
    platform = LocalPlatform(
        Settings(data_dir=data, worker=worker or Worker()), layout, sink=lambda *_: None, say=lambda _: None
    )
    return [platform._worker(f"w{number}").env for number in range(1, layout.workers + 1)]


def test_every_card_and_instance_gets_a_worker_of_its_own(asked_of_up: list[PlatformConfig], tmp_path: Path) -> None:
    with machine_with(*CARDS):
        said = up()
    (layout,) = asked_of_up
    given = [env[VISIBLE] for env in environments(layout, tmp_path)]
    assert given == ["GPU-aaaa", "MIG-cccc", "MIG-dddd"]
    assert "GPU 2 is in MIG mode and has no instances" in said


def test_workers_that_are_more_or_fewer_than_the_devices_take_them_in_turn(
    asked_of_up: list[PlatformConfig], tmp_path: Path
) -> None:
    with machine_with(*CARDS):
        up("--workers", "4")
        up("--workers", "2")
    more, fewer = ([env[VISIBLE] for env in environments(layout, tmp_path)] for layout in asked_of_up)
    assert more == ["GPU-aaaa", "MIG-cccc", "MIG-dddd", "GPU-aaaa"]
    assert fewer == ["GPU-aaaa", "MIG-cccc"]


@pytest.mark.parametrize(("visible", "count"), [("0", 1), ("1", 2), ("GPU-a,MIG-d", 2), ("", 1), ("7", 1)])
def test_only_devices_that_are_visible_get_a_worker(
    asked_of_up: list[PlatformConfig], monkeypatch: pytest.MonkeyPatch, visible: str, count: int
) -> None:
    monkeypatch.setenv(VISIBLE, visible)
    with machine_with(*CARDS):
        up()
    (layout,) = asked_of_up
    assert layout.workers == count
    assert len(layout.devices) == (count if visible not in {"", "7"} else 0)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_without_a_gpu_to_be_used_there_is_one_worker_that_sees_what_we_see(
    asked_of_up: list[PlatformConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str
) -> None:
    monkeypatch.setenv("MURMUR_DEVICE", device)
    with machine_with(*(CARDS if device == "cpu" else ())):
        up()
    (layout,) = asked_of_up
    (env,) = environments(layout, tmp_path)
    assert VISIBLE not in env


def test_worker_that_is_started_again_keeps_its_device(tmp_path: Path) -> None:
    layout = PlatformConfig(workers=2, devices=("GPU-a", "GPU-b"))
    platform = LocalPlatform(Settings(data_dir=tmp_path), layout, sink=lambda *_: None, say=lambda _: None)
    given = {name: [platform._worker(name).env[VISIBLE] for _ in range(3)] for name in ("w1", "w2")}
    assert given == {"w1": ["GPU-a"] * 3, "w2": ["GPU-b"] * 3}


def test_workers_with_devices_divide_the_cores_and_keep_their_own_number_of_replicas(tmp_path: Path) -> None:
    layout = PlatformConfig(workers=2, devices=("GPU-a", "GPU-b"))
    plain = environments(layout, tmp_path)
    assert [env["MURMUR_WORKER__HOST_WORKERS"] for env in plain] == ["2", "2"]
    assert not any("MURMUR_WORKER__MODEL_WORKERS" in env for env in plain)
    own = environments(layout, tmp_path, Worker(host_workers=5, model_workers=3))
    assert [env["MURMUR_WORKER__HOST_WORKERS"] for env in own] == ["5", "5"]
    assert [env["MURMUR_WORKER__MODEL_WORKERS"] for env in own] == ["3", "3"]


def test_libraries_of_a_worker_compute_in_one_thread_each(tmp_path: Path) -> None:
    both = environments(PlatformConfig(workers=2), tmp_path)
    threads = [{env[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} for env in both]
    assert threads == [{"1"}, {"1"}]
