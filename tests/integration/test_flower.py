"""What operators read in Flower: a real one, started as compose starts it, that watches a real platform."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo import SAMPLES
from murmur.client.errors import JobEnded
from murmur.platform.ledger_server import free_port
from tests.platform import TestPlatform, eventually, running_platform
from transcription.settings import Lease

ROOT = Path(__file__).parents[2]
FLOWER = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["flower"]
# What its page asks for to fill the list.
LIST = "tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=received"
GONE = "/no/such/model"


@contextmanager
def flower(broker: str) -> Iterator[httpx.Client]:
    """Run Flower; the client asks under its path."""
    port = free_port()
    argv = [sys.executable, "-m", *FLOWER["command"], "--address=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(
        argv, env={**os.environ, "CELERY_BROKER_URL": broker}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/flower", timeout=5) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def sees_the_worker(http: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return bool(re.search(r"^flower_worker_online\S+ 1\.0$", http.get("/metrics").text, re.MULTILINE))
    return False


def ended(http: httpx.Client) -> list[dict[str, Any]]:
    """The tasks that have ended, without those that found nothing to do."""
    tasks: list[dict[str, Any]] = http.get(f"/{LIST}").raise_for_status().json()["data"]
    return [task for task in tasks if task["state"] == "FAILURE" or task["result"] not in (None, "None")]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestPlatform, httpx.Client]]:
    """A platform that is said to serve a model which isn't there, and the Flower that watches it."""
    directory = tmp_path_factory.mktemp("watched")
    with (
        running_platform(directory, models=(GONE,), lease=Lease(max_attempts=1)) as platform,
        flower(platform.redis_url) as http,
    ):
        eventually(lambda: sees_the_worker(http), within_s=30, every_s=0.1)
        yield platform, http


def test_each_task_says_what_it_did_and_failures_are_failures(watched: tuple[TestPlatform, httpx.Client]) -> None:
    platform, http = watched
    with platform.client() as client:
        done = client.wait(client.submit(SAMPLES["short"].path).id, seconds=60)
        with pytest.raises(JobEnded):
            client.wait(client.submit(SAMPLES["short"].path, model=GONE).id, seconds=60)
        (dead,) = client.dead_letters()
    eventually(lambda: len(ended(http)) == 2)
    tasks = {task["state"]: task for task in ended(http)}

    line = re.fullmatch(r"'(\w+)/0 ([\d.]+) s of audio, real-time factor ([\d.]+)'", tasks["SUCCESS"]["result"])
    assert line, tasks["SUCCESS"]
    assert any("finished" in said and line[1] in said for said in platform.lines)
    assert float(line[2]) == pytest.approx(done.audio.duration_s, abs=0.06)
    assert 0 < float(line[3]) < 100

    assert tasks["FAILURE"]["exception"].startswith("SpanFailed(")
    assert f"{dead.computation}/0: model '{GONE}'" in tasks["FAILURE"]["exception"]


def test_list_shows_the_result_line(watched: tuple[TestPlatform, httpx.Client]) -> None:
    _, http = watched
    page = http.get("/tasks").raise_for_status().text
    assert {"State", "Result", "Exception", "Worker"} <= set(re.findall(r"<th[^>]*>([^<]*)</th>", page))
