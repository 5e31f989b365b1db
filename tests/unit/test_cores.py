import os
from pathlib import Path

import pytest

from transcription.observability.cores import available
from transcription.settings import Settings, Worker
from worker.engines.choice import choose
from worker.engines.cpu_layout import WIDE, CpuLayout, instruction_set, layout, slots


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def machine(root: Path, cgroup: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.replace("_max", ".max").replace("cfs", "cpu.cfs")).write_text(content)
    return root


@pytest.mark.usefixtures("many_cores")
class TestQuota:
    def test_a_quota_of_cgroup_v2_counts(self, tmp_path: Path) -> None:
        assert available(machine(tmp_path, "0::/\n", cpu_max="350000 100000\n")) == 3

    def test_a_quota_further_up_counts_too(self, tmp_path: Path) -> None:
        root = machine(tmp_path, "0::/pod/box\n", pod__cpu_max="200000 100000\n", pod__box__cpu_max="max 100000\n")
        assert available(root) == 2

    def test_a_quota_of_cgroup_v1_counts(self, tmp_path: Path) -> None:
        root = machine(tmp_path, "4:cpu,cpuacct:/\n", cpu__cfs_quota_us="400000\n", cpu__cfs_period_us="100000\n")
        assert available(root) == 4

    @pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("-1", 16)])
    def test_a_container_of_cgroup_v1_finds_its_own_files_under_a_path_of_the_hosts(
        self, tmp_path: Path, quota: str, cores: int
    ) -> None:
        """Docker mounts the group's own directory, but `/proc` names it as the host does; -1 is no quota."""
        cgroup = "5:cpuset:/docker/0a1b\n4:cpu,cpuacct:/docker/0a1b\n0::/docker/0a1b\n"
        files = {"cpu,cpuacct__cfs_quota_us": f"{quota}\n", "cpu,cpuacct__cfs_period_us": "100000\n"}
        assert available(machine(tmp_path, cgroup, **files)) == cores

    def test_less_than_a_core_is_one(self, tmp_path: Path) -> None:
        assert available(machine(tmp_path, "0::/\n", cpu_max="50000 100000\n")) == 1

    def test_without_a_quota_the_affinity_counts(self, tmp_path: Path) -> None:
        assert available(machine(tmp_path, "0::/\n", cpu_max="max 100000\n")) == 16
        assert available(tmp_path / "nothing") == 16

    @pytest.mark.parametrize(("sharers", "cores"), [(1, 16), (3, 5), (16, 1), (40, 1)])
    def test_workers_of_a_host_divide_its_cores(self, tmp_path: Path, sharers: int, cores: int) -> None:
        assert available(tmp_path, sharers=sharers) == cores

    def test_a_quota_is_a_workers_own(self, tmp_path: Path) -> None:
        assert available(machine(tmp_path, "0::/\n", cpu_max="350000 100000\n"), sharers=5) == 3


def test_five_workers_on_two_cores_have_a_model_replica_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    settings = Settings(device="cpu", worker={"engine": "faster_whisper", "host_workers": 5})
    alone = settings.model_copy(update={"worker": settings.worker.model_copy(update={"host_workers": 1})})
    assert choose(settings).layout.startswith("1 × 1 ")
    assert choose(alone).layout.startswith("2 × 1 ")


def test_this_machine_has_at_least_a_core() -> None:
    assert 1 <= available() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("worker", "cores", "expected"),
    [
        (Worker(), 8, CpuLayout(8, 1, 4)),
        (Worker(threads=3), 8, CpuLayout(2, 3, 4)),
        (Worker(threads=4), 2, CpuLayout(1, 2, 4)),
        (Worker(model_workers=2, batch=6), 8, CpuLayout(2, 1, 6)),
    ],
)
def test_a_cpus_cores_are_never_oversubscribed_unasked(worker: Worker, cores: int, expected: CpuLayout) -> None:
    assert layout(worker, device="cpu", cores=cores) == expected


@pytest.mark.parametrize(
    ("worker", "plan", "expected"),
    [
        (Worker(), CpuLayout(1, 1, 1), 8),
        (Worker(), CpuLayout(2, 1, 4), 12),
        (Worker(), CpuLayout(2, 1, None), 48),
        (Worker(), CpuLayout(64, 1, 4), 64),
        (Worker(slots=3), CpuLayout(64, 1, 4), 3),
    ],
)
def test_there_are_spans_enough_to_keep_the_model_busy(worker: Worker, plan: CpuLayout, expected: int) -> None:
    assert slots(worker, plan) == expected


@pytest.mark.parametrize(
    ("flags", "told"), [(WIDE | {"fpu"}, "AVX512"), (WIDE - {"avx512_vbmi2"}, None), (set(), None)]
)
def test_wide_registers_are_used_where_they_cost_nothing(tmp_path: Path, flags: set[str], told: str | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor : 0\nflags : {' '.join(sorted(flags))}\n")
    assert instruction_set(tmp_path) == told
    assert instruction_set(tmp_path / "nothing") is None
