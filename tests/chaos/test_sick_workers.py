"""A fault of the platform is not a fault of the job: a sick worker and an outage cost time, and no job."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chaos.flock import Client, Flock
from tests.chaos.recordings import recording
from tests.platform import eventually
from transcription.settings import Lease

LEASE = Lease(ttl_s=6, renew_s=1, stall_s=30, max_attempts=2)
JOBS = 30
OUTAGE_PROBES = 10 if os.environ.get("CHAOS_LONG") else 4
"""Probes of the two workers that must fail before an outage ends."""
SECRET = "a secret of some length"

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@contextmanager
def flock_of(
    directory: Path, env: dict[str, dict[str, str]], workers: tuple[str, ...] = ("w1", "w2")
) -> Iterator[Flock]:
    with Flock(directory / "data", lease=LEASE, workers=workers, apis=("api1",), env=env, window_s=0.3) as flock:
        try:
            yield flock
        except BaseException:
            print("\n".join(flock.lines[-200:]))
            raise


def all_complete(flock: Flock, jobs: list[str], within_s: float = 90) -> None:
    client, deadline = Client(flock), time.monotonic() + within_s
    for job_id in jobs:
        while (job := client.job(job_id, wait=2))["status"] in ("queued", "processing"):
            assert time.monotonic() < deadline, job
        assert (job["status"], job["attempts"]) == ("completed", 1), job
    client.close()


def submitted(flock: Flock, count: int = JOBS, seconds: float = 2) -> list[str]:
    client = Client(flock)
    jobs = [client.submit(recording(3000 + n, seconds), key=f"sick-{n}") for n in range(count)]
    client.close()
    return jobs


def quarantined(flock: Flock) -> dict[str, str]:
    """Why each worker that is in quarantine is."""
    workers = httpx.get(f"{flock.url('api1')}/health/async", timeout=5).json()["workers"]
    return {one["id"].split("@")[0]: one["quarantine"] for one in workers if one["quarantine"]}


def health_check(flock: Flock, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The image's own health check of a worker."""
    workers = httpx.get(f"{flock.url('api1')}/health/async", timeout=5).json()["workers"]
    node = next(one["id"] for one in workers if one["id"].startswith(f"{name}@"))
    url = flock.settings.ledger.url.get_secret_value()
    return subprocess.run(
        [sys.executable, "-IS", "worker/health_check.py", node, *flags],
        env={**os.environ, "MURMUR_LEDGER__URL": url, "TMPDIR": str(flock.temporary)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_whose_data_is_not_mounted_fails_no_job_says_so_and_returns_when_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "not mounted"
    (tmp_path / "data").mkdir()
    with flock_of(tmp_path, {"w2": {"MURMUR_DATA_DIR": str(elsewhere)}}) as flock:
        jobs = submitted(flock)
        eventually(lambda: "w2" in quarantined(flock), 30)
        all_complete(flock, jobs)
        assert "storage" in quarantined(flock)["w2"]
        sick = health_check(flock, "w2")
        assert (sick.returncode, "in quarantine: storage" in sick.stdout) == (3, True), sick
        assert health_check(flock, "w2", "--alive").returncode == 0
        assert health_check(flock, "w1").returncode == 0
        figures = httpx.get(f"{flock.url('api1')}/metrics/ledger", timeout=5).text
        assert "murmur_workers_quarantined 1.0" in figures
        assert httpx.get(f"{flock.url('api1')}/health/ready", timeout=5).json()["workers"] == 1
        elsewhere.mkdir(exist_ok=True)
        (elsewhere / "blobs").symlink_to(flock.settings.blob_dir)
        eventually(lambda: not quarantined(flock), 60)
        eventually(lambda: health_check(flock, "w2").returncode == 0, 10)


def test_a_worker_with_another_secret_fails_no_job(tmp_path: Path) -> None:
    flock = Flock(tmp_path / "data", lease=LEASE, workers=("w1", "w2"), apis=("api1",), window_s=0.3)
    # Workers on other hosts: they share no disk with the API, nor with each other.
    for name, secret in (("w1", SECRET), ("w2", "not that secret at all")):
        own = {"MURMUR_BLOBS__URL": flock.url("api1"), "MURMUR_DATA_DIR": str(tmp_path / name)}
        flock.env[name] = {**own, "MURMUR_BLOBS__SECRET": secret}
    flock.env["api1"] = {"MURMUR_BLOBS__SECRET": SECRET}
    with flock:
        jobs = submitted(flock)
        eventually(lambda: "w2" in quarantined(flock), 30)
        all_complete(flock, jobs)
        assert "403" in quarantined(flock)["w2"]


def test_a_worker_that_cannot_load_its_model_fails_no_job_and_returns_when_it_can(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    with flock_of(tmp_path, {"w2": {"STUB_NO_MODEL": str(weights)}}) as flock:
        jobs = submitted(flock)
        eventually(lambda: "w2" in quarantined(flock), 30)
        all_complete(flock, jobs)
        weights.write_bytes(b"")
        eventually(lambda: not quarantined(flock), 60)


def test_an_outage_of_the_audio_s_store_fails_none_of_the_queued_jobs(tmp_path: Path) -> None:
    with flock_of(tmp_path, {}) as flock:
        blobs, away = flock.settings.blob_dir, flock.settings.blob_dir.with_name("away")
        for name in flock.workers:  # so that none ends a job before the outage
            flock.signal(name, signal.SIGSTOP)
        jobs = submitted(flock, 20)
        blobs.rename(away)
        for name in flock.workers:
            flock.signal(name, signal.SIGCONT)
        eventually(lambda: set(quarantined(flock)) == {"w1", "w2"}, 60)
        assert not flock.ready("api1")
        # Longer than any attempt may take: probes fail again and again.
        eventually(lambda: sum("quarantine goes on" in line for line in list(flock.lines)) >= OUTAGE_PROBES, 60)
        away.rename(blobs)
        all_complete(flock, jobs)
        assert eventually(lambda: flock.ready("api1"), 60)


def test_a_scratch_disk_that_takes_nothing_costs_time_and_no_attempt(tmp_path: Path) -> None:
    with flock_of(tmp_path, {}) as flock:
        shutil.rmtree(flock.settings.pcm_dir, ignore_errors=True)
        flock.settings.pcm_dir.write_bytes(b"")  # where a folder should be
        jobs = submitted(flock, 4, seconds=200)
        eventually(lambda: set(quarantined(flock)) == {"w1", "w2"}, 40)
        assert "scratch" in quarantined(flock)["w1"]
        flock.settings.pcm_dir.unlink()
        all_complete(flock, jobs)
