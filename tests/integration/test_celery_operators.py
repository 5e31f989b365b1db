"""What operators who know Celery see and do: Flower's list, `celery inspect` and `control`, purge, shutdown."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from redis import Redis

from murmur.client.errors import Conflict
from murmur.client.responses import JobEnded
from tests import audio_files
from tests.integration.test_flower import LIST, flower
from tests.live_api import ROOT
from tests.platform import TestPlatform, eventually, running_ledger, running_platform
from transcription.ledger.broker import celery_app
from transcription.settings import Lease, Worker

STUB = "tests.chaos.stub_engine:load"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPlatform]:
    worker = Worker(engine=STUB, slots=2)
    lease = Lease(max_attempts=2, ttl_s=5, renew_s=1)
    with running_platform(tmp_path_factory.mktemp("operators"), worker=worker, lease=lease) as running:
        yield running


@pytest.fixture(scope="module")
def http(platform: TestPlatform) -> Iterator[httpx.Client]:
    with flower(platform.redis_url) as client:
        yield client


@pytest.fixture
def celery(platform: TestPlatform) -> Iterator[Celery]:
    with celery_app(platform.settings) as app:
        yield app


def tasks(http: httpx.Client) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/{LIST}").raise_for_status().json()["data"]
    return {task["uuid"]: task for task in found}


def submit(platform: TestPlatform, seconds: float, prompt: str, **options: Any) -> str:
    with httpx.Client(base_url=platform.url, timeout=30) as api:
        file = {"file": ("talk.wav", audio_files.wav(seconds))}
        answer = api.post("/v1/jobs", files=file, data={"prompt": prompt, "vad_filter": "false", **options})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])


def state(http: httpx.Client, task: str) -> str | None:
    return tasks(http).get(task, {}).get("state")


def test_a_job_is_found_in_flower_by_its_id_with_its_class_and_how_it_ended(
    platform: TestPlatform, http: httpx.Client
) -> None:
    done = submit(platform, 1.0, "well", priority="batch")
    failed = submit(platform, 1.1, "raise")
    with platform.client() as client:
        client.wait(done, seconds=60)
        with pytest.raises(JobEnded):
            client.wait(failed, seconds=60)
    eventually(lambda: state(http, f"{done}-0") == "SUCCESS", within_s=20)
    eventually(lambda: state(http, f"{failed}-0") == "FAILURE", within_s=20)
    task = tasks(http)[f"{done}-0"]
    assert task["name"] == "murmur.transcribe.batch"
    assert done in task["kwargs"]
    assert "real-time factor" in task["result"]
    assert tasks(http)[f"{failed}-0"]["name"] == "murmur.transcribe.interactive"
    assert "boom" in tasks(http)[f"{failed}-0"]["exception"]
    assert tasks(http)[f"{failed}-0"]["retries"] == 1  # one row for both attempts


def test_a_hint_that_finds_nothing_to_do_does_not_show(
    platform: TestPlatform, http: httpx.Client, celery: Celery
) -> None:
    before = set(tasks(http))
    for _ in range(5):
        celery.send_task("murmur.pull", queue="murmur.demo")
    job = submit(platform, 1.2, "after the empty ones")
    eventually(lambda: state(http, f"{job}-0") == "SUCCESS", within_s=20)
    assert set(tasks(http)) - before == {f"{job}-0"}


def test_inspect_shows_what_is_in_work_and_revoke_cancels_it(
    platform: TestPlatform, http: httpx.Client, celery: Celery
) -> None:
    job = submit(platform, 1.3, "slow")

    def in_work() -> list[dict[str, Any]]:
        answers = celery.control.inspect(timeout=10, limit=1)._request("spans") or {}
        return [span for spans in answers.values() for span in spans if job in span["jobs"]]

    (span,) = eventually(in_work, within_s=20)
    assert span["span"] == 0
    assert span["age_s"] >= 0

    def active() -> list[dict[str, Any]]:
        answers = celery.control.inspect(timeout=10, limit=1).active() or {}
        return [task for found in answers.values() for task in found]

    # Celery calls a task active once its thread has begun; the span is in work before that.
    (task,) = eventually(active, within_s=20)
    assert (task["id"], task["kwargs"]["job"]) == (f"{job}-0", job)
    celery.control.revoke(f"{job}-0")
    with platform.client() as client:
        eventually(lambda: client.job(job).status == "canceled", within_s=20)
    eventually(lambda: state(http, f"{job}-0") == "REVOKED", within_s=20)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("pool_grow", {"n": 1}),
        ("pool_shrink", {"n": 1}),
        ("pool_restart", {}),
        ("autoscale", {"max": 5, "min": 1}),
        ("rate_limit", {"task_name": "murmur.pull", "rate_limit": "1/m"}),
        ("time_limit", {"task_name": "murmur.pull", "hard": 1}),
        ("revoke", {"task_id": ["nobody-0"]}),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    celery: Celery, platform: TestPlatform, command: str, arguments: dict[str, Any]
) -> None:
    workers = len([name for name in platform.pids() if name.startswith("w")])
    how = {"arguments": arguments, "reply": True, "timeout": 5, "limit": workers}  # as soon as all have answered
    answers = eventually(lambda: celery.control.broadcast(command, **how), within_s=20)
    assert len(answers) == workers
    assert all(" " in answer["error"] for found in answers for answer in found.values())


def test_a_purge_loses_no_job(platform: TestPlatform, celery: Celery) -> None:
    jobs = [submit(platform, 2.0 + n / 10, "steady") for n in range(6)]
    celery.control.purge()
    for queue in ("murmur.demo", "murmur"):
        with celery.connection_for_write() as connection:
            connection.default_channel.queue_purge(queue)
    with platform.client() as client:
        for job in jobs:
            client.wait(job, seconds=60)


def test_the_length_of_a_queue_is_what_waits_for_that_kind(platform: TestPlatform, celery: Celery) -> None:
    with Redis.from_url(platform.redis_url) as client, platform.client() as api:
        jobs = [submit(platform, 3.0 + n / 10, "slow") for n in range(6)]
        try:
            eventually(lambda: [api.job(job).status for job in jobs].count("processing") == 2, within_s=20)
            # Where a submit meets the round that tops hints up there is one more until it is taken: what counts is what
            # a round makes of it when nobody submits.
            client.delete("murmur.demo")
            # Four for a while, and not on the way to more.
            eventually(lambda: {client.llen("murmur.demo") for _ in range(100)} == {4}, within_s=20)
        finally:
            for job in jobs:
                with suppress(Conflict):  # it has ended
                    api.cancel(job)


def test_shutdown_by_remote_control_ends_the_worker_and_costs_its_job_no_attempt(
    platform: TestPlatform, celery: Celery
) -> None:
    job = submit(platform, 4.0, "steady")
    celery.control.shutdown()
    with Redis.from_url(platform.redis_url) as client:
        eventually(lambda: client.zcard("murmur:workers") == 0, within_s=30)
    with platform.client() as api:

        def completed() -> bool:
            platform.restart_exited()
            return api.job(job).status == "completed"

        eventually(completed, within_s=60, every_s=0.5)
        assert api.job(job).attempts == 1

    def back() -> bool:
        platform.restart_exited()
        return bool(celery.control.ping(timeout=1))

    eventually(back, within_s=60)  # for the tests after this one, whatever the worker had finished before it ended


@contextmanager
def worker_as_typed(tmp_path: Path, url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")},
        "MURMUR_MODEL": "demo",
        "MURMUR_WORKER__ENGINE": STUB,
        "MURMUR_DATA_DIR": str(tmp_path),
        "MURMUR_LEDGER__URL": url,
    }
    argv = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *arguments]
    process = subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("--pool", "solo"), "pool of threads"), (("--pool", "threads", "--autoscale", "4,1"), "MURMUR_WORKER__SLOTS")],
)
def test_a_worker_that_could_not_work_is_refused_with_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    with (
        running_ledger(tmp_path / "ledger") as server,
        worker_as_typed(tmp_path, server.url, *arguments) as process,
    ):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert reason in output


START = """
import worker.app

def broken(*_):
    raise RuntimeError("nobody foresaw this")

class Sender:
    pool_cls, hostname, options = "threads", "w1@here", {}

worker.app.WorkerRuntime = broken
worker.app._start(Sender())
"""


def test_a_worker_that_can_not_start_ends_and_never_looks_as_if_it_lived(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MURMUR_MODEL": "demo",
        "MURMUR_WORKER__ENGINE": STUB,
        "MURMUR_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "nobody foresaw this" in done.stdout + done.stderr


def test_a_worker_started_as_everybody_types_it_works(tmp_path: Path, redis_url: str) -> None:
    from tests.ledger_client import LedgerClient
    from transcription.job import Status
    from transcription.settings import Settings

    settings = Settings(data_dir=tmp_path, ledger={"url": redis_url})
    client = LedgerClient(settings)
    job = client.new()
    with worker_as_typed(tmp_path, redis_url):
        # There is no such recording: what counts is that the span is claimed and answered for.
        eventually(lambda: client.status(job) is not Status.QUEUED, within_s=60)
        with Redis.from_url(redis_url) as redis:
            # Nobody listens to the workers' events: each would hear each other's, a million messages for a thousand.
            assert redis.publish("/0.celeryev/worker.heartbeat", "{}") == 0
