"""Suspects are kept apart from each other, not from the world; and nothing but workers dies of a poisonous file."""

import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from murmur.platform import supervisor
from tests.chaos.flock import Client, Flock
from tests.chaos.recordings import recording
from tests.platform import eventually, running_platform
from transcription.settings import Lease, Worker

LEASE = Lease(ttl_s=6, renew_s=1, stall_s=30)
BATCH = 8
LONG_S, WINDOW_S, SLOWER = (720.0, 0.5, 1.5) if os.environ.get("CHAOS_LONG") else (180.0, 0.8, 4.0)
"""
How long a recording of the batch is, what the engine takes for a window of it, and how many times as long as
undisturbed the batch may take: beside other tests the two can't be compared closely.
"""
DEATHS = 3
"""Quick deaths in a row after which the platform speaks of them."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_one_kill_of_the_only_worker_makes_neither_a_convoy_nor_interactive_jobs_wait(tmp_path: Path) -> None:
    how = {"slots": BATCH + 2, "span_s": LONG_S}
    with Flock(tmp_path, lease=LEASE, workers=("w1",), apis=("api1",), window_s=WINDOW_S, **how) as flock:
        client = Client(flock)
        undisturbed = batch(client, 5000)
        began = time.monotonic()
        all_complete(client, undisturbed)
        alone_s = time.monotonic() - began

        jobs = batch(client, 5100)
        began = time.monotonic()
        eventually(lambda: running(flock) == BATCH, 30)
        flock.kill("w1")
        killed = time.time()
        flock.start("w1")
        restarted = eventually(lambda: claimed_since(flock, killed), 60)
        job = client.submit(recording(5200, 2), key="interactive")
        all_complete(client, [job, *jobs])
        batch_s = time.monotonic() - began - (restarted - killed)
        print(f"batch {batch_s:.1f} s, undisturbed {alone_s:.1f} s; restart {restarted - killed:.1f} s")
        ends = [completed_at(client, one) for one in (job, *jobs)]
        assert ends[0] == min(ends)
        assert batch_s < SLOWER * alone_s
        assert all(client.job(one)["attempts"] == 1 for one in jobs)
        client.close()


def completed_at(client: Client, job_id: str) -> datetime:
    return datetime.fromisoformat(str(client.job(job_id)["completed_at"]))


def batch(client: Client, number: int) -> list[str]:
    return [
        client.submit(recording(number + n, LONG_S), key=f"batch-{number + n}", priority="batch") for n in range(BATCH)
    ]


def all_complete(client: Client, jobs: list[str], within_s: float = 240) -> None:
    deadline = time.monotonic() + within_s
    for job_id in jobs:
        while (job := client.job(job_id, wait=2))["status"] in ("queued", "processing"):
            assert time.monotonic() < deadline, job
        assert job["status"] == "completed", job


def running(flock: Flock) -> int:
    with flock.redis() as redis:
        return int(redis.zcard("murmur:leases"))


def claimed_since(flock: Flock, at: float) -> float:
    """When the first span was claimed after *at*; 0 while none has been. Unix seconds."""
    with flock.redis() as redis:
        entries = redis.xrange("murmur:audit", min=str(int(at * 1000)))
    return next((int(name.split("-")[0]) / 1000 for name, entry in entries if entry["what"] == "claimed"), 0.0)


def test_two_poisonous_files_end_workers_and_never_the_api_of_a_platform_on_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.1)
    engine = Worker(engine="tests.chaos.stub_engine:load", slots=4, model_workers=1)
    lease = LEASE.model_copy(update={"max_attempts": 2})
    with running_platform(tmp_path, lease=lease, worker=engine) as platform, platform.client() as client:
        platform.supervisor._deaths = DEATHS
        pid = platform.pids()["api"]
        jobs = []
        for number in range(2):
            path = tmp_path / f"{number}.wav"
            path.write_bytes(recording(5300 + number, 3))
            jobs.append(client.submit(path, prompt="exit", language="en", vad_filter=False).id)

        def ended() -> bool:
            platform.restart_exited()
            return all(client.job(job).status.terminal for job in jobs)

        eventually(ended, 240, every_s=0.1)
        assert [client.job(job).error.code for job in jobs] == ["worker_lost"] * 2  # type: ignore[union-attr]
        assert platform.pids()["api"] == pid
        deaths = [line for line in platform.lines if "w1 died after" in line]
        assert len(deaths) >= DEATHS
        assert "th time in a row; it starts again in" in deaths[-1]
        path.write_bytes(recording(5400, 3))
        good = client.submit(path, language="en", vad_filter=False).id
        eventually(lambda: (platform.restart_exited(), client.job(good).status.terminal)[1], 120, every_s=0.2)
        assert client.job(good).status == "completed"
