"""Whether an API is well, ready and has room, and who is told so."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from api.jobs.backpressure import drained_in_s
from tests import audio_files
from tests.api_client import Bench, bench
from tests.memory_jobs import WORKER, MemoryJobs
from transcription.ports import Backlog

pytestmark = pytest.mark.anyio


async def test_health_answers_every_kind_of_client(api: Bench) -> None:
    answer = await api.http.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert 0 < body["memory_percent"] <= 100
    assert body["active_tasks"] == 1
    assert (await api.http.get("/health/live")).json() == {"status": "alive"}
    assert (await api.http.get("/health/ready")).json() == {
        "status": "ready",
        "ledger": True,
        "ledger_full": False,
        "workers": 1,
    }
    queue = (await api.http.get("/health/async")).json()
    assert queue["workers"][0]["id"] == "w1"
    assert "pid" not in queue["workers"][0]


async def test_without_a_worker_the_platform_is_degraded_and_not_ready_but_takes_jobs(api: Bench) -> None:
    api.jobs.workers = ()
    assert (await api.http.get("/health")).json()["status"] == "degraded"
    assert (await api.http.get("/health/ready")).status_code == 503
    assert (await api.submit(audio_files.wav())).status_code == 202


async def test_replica_is_ready_only_where_a_job_would_be_taken_and_worked_on(tmp_path: Path) -> None:
    sick = replace(WORKER, withdrawn=("demo",))
    for number, (limits, workers, code) in enumerate(
        (({"max_memory_percent": 0.001}, (WORKER,), "memory_pressure"), ({}, (sick, sick), None))
    ):
        async with bench(tmp_path / str(number), **limits) as api:
            api.jobs.workers = workers
            ready = await api.http.get("/health/ready")
            assert (ready.status_code, ready.json().get("refusal", {}).get("code")) == (503, code)
            assert ready.json()["workers"] == (0 if sick in workers else 1)


async def test_full_queue_alone_takes_no_replica_out(tmp_path: Path) -> None:
    async with bench(tmp_path, max_queue_audio_s=100) as api:
        api.jobs.pending_audio_s = 400.0
        ready = await api.http.get("/health/ready")
        assert (ready.status_code, ready.json()["refusal"]["code"]) == (200, "queue_full")


async def test_without_the_ledger_everything_says_so_and_when_to_come_back(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    left = api.leftovers()
    api.jobs.down = True
    api.forget_backlog()
    for method, path in (("GET", job["urls"]["self"]), ("GET", "/v1/jobs"), ("GET", "/stats"), ("GET", "/v1/models")):
        answer = await api.http.request(method, path)
        problem = answer.json().get("error") or answer.json()  # OpenAI's clients read /v1/models
        assert (answer.status_code, problem["code"]) == (503, "ledger_unavailable")
        assert answer.headers["retry-after"] == "5"
    refused = await api.submit(audio_files.wav(2))
    assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
    assert api.leftovers() == left
    assert (await api.http.get("/health")).status_code == 503
    assert (await api.http.get("/health/ready")).status_code == 503
    assert (await api.http.get("/health/live")).status_code == 200
    assert "murmur_ledger_up 0.0" in (await api.http.get("/metrics/ledger")).text


async def test_workers_that_told_where_their_metrics_are_are_named_to_prometheus(tmp_path: Path) -> None:
    async with bench(tmp_path) as api:
        api.jobs.workers = (WORKER, replace(WORKER, id="w2@mini", metrics="192.168.1.20:9464"))
        answer = await api.http.get("/metrics/targets")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == [{"targets": ["192.168.1.20:9464"]}]
        api.jobs.down = True
        api.forget_backlog()
        # Prometheus keeps the targets that it has.
        assert (await api.http.get("/metrics/targets")).status_code == 503


async def test_full_queue_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    async with bench(tmp_path, max_queue_audio_s=100) as api:
        api.jobs.pending_audio_s = 400.0

        async def body() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        answer = await api.http.post("/v1/jobs", content=body(), headers={"content-type": "audio/wav"})
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        # 300 audio-seconds too many, at 10 a second
        assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"max_memory_percent": 0.001}, "memory_pressure"), ({"min_free_disk_bytes": 1 << 60}, "disk_full")],
)
async def test_short_machine_refuses_with_a_time_to_come_back(
    tmp_path: Path, limits: dict[str, float], code: str
) -> None:
    async with bench(tmp_path, **limits) as api:
        answer = await api.submit(audio_files.wav())
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) >= 30
        assert api.leftovers() == []


def test_time_until_the_queue_is_short_again_follows_the_workers_speed() -> None:
    backlog = Backlog(pending_spans=1, pending_audio_s=1000.0, running_spans=0, oldest_age_s=None, workers=(WORKER,))
    assert drained_in_s(backlog, 100.0) == 90
    assert drained_in_s(backlog, 999.0) == 5
    assert drained_in_s(replace(backlog, pending_audio_s=1e9), 0.0) == 3600
    assert drained_in_s(replace(backlog, workers=()), 100.0) == 60


async def test_concurrent_requests_share_one_look_at_the_ledger(api: Bench) -> None:
    import asyncio

    looks = 0
    real = MemoryJobs.backlog

    async def counted(self: MemoryJobs) -> Backlog:
        nonlocal looks
        looks += 1
        await anyio.wait_all_tasks_blocked()  # all the others have asked by now
        return await real(self)

    api.jobs.backlog = counted.__get__(api.jobs)  # type: ignore[method-assign]
    await asyncio.gather(*(api.http.get("/health") for _ in range(20)))
    assert looks == 1
