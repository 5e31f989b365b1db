"""What operators read in Flower: a real one, started as compose starts it, that watches a real platform."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from murmur.platform.ledger_server import free_port
from tests.platform import TestPlatform, eventually, running_platform

ROOT = Path(__file__).parents[2]
FLOWER = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["flower"]
# What its page asks for to fill the list.
LIST = "tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=received"


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


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestPlatform, httpx.Client]]:
    """A platform, and the Flower that watches it."""
    directory = tmp_path_factory.mktemp("watched")
    with (
        running_platform(directory) as platform,
        flower(platform.redis_url) as http,
    ):
        eventually(lambda: sees_the_worker(http), within_s=30, every_s=0.1)
        yield platform, http


def test_list_shows_the_result_line(watched: tuple[TestPlatform, httpx.Client]) -> None:
    _, http = watched
    page = http.get("/tasks").raise_for_status().text
    assert {"State", "Result", "Exception", "Worker"} <= set(re.findall(r"<th[^>]*>([^<]*)</th>", page))
