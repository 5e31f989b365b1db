"""What operators read in Flower: a real one, started as compose starts it, that watches a real platform."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import pytest
import yaml
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from tests.compose_files import filled
from tests.free_port import free_port
from tests.platform import TestPlatform, eventually, ledger_binaries, running_platform
from transcription.settings import Worker

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
FLOWER, REDIS = SERVICES["flower"], SERVICES["redis"]
# What its page asks for to fill the list.
LIST = "tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=received"


@contextmanager
def flower(broker: str, **variables: str) -> Iterator[httpx.Client]:
    """Run Flower, with further variables, until it sees a worker; the client asks under its path."""
    port = free_port()
    argv = [sys.executable, "-m", *FLOWER["command"], "--address=127.0.0.1", f"--port={port}"]
    env = {**os.environ, "CELERY_BROKER_URL": broker} | variables
    with TemporaryFile("w+") as said, subprocess.Popen(argv, env=env, stdout=said, stderr=subprocess.STDOUT) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/flower", timeout=5) as client:
                eventually(lambda: process.poll() is not None or _sees_a_worker(client), within_s=60, every_s=0.1)
                assert process.poll() is None
                yield client
        finally:
            process.terminate()
            process.wait(20)
            said.seek(0)
            print(f"Flower at port {port}, which ended with {process.returncode}:\n{said.read()}")


def _sees_a_worker(http: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return bool(re.search(r"^flower_worker_online\S+ 1\.0$", http.get("/metrics").text, re.MULTILINE))
    return False


def limited(ledger: str) -> str:
    """The URL of Flower's user on the ledger's server, made as compose has it made."""
    user, name, *rules = _acl().split()
    assert (user, name) == ("--user", "flower")
    with Redis.from_url(ledger) as redis:
        redis.execute_command("ACL", "SETUSER", name, *rules)
    return re.sub(r"//[^@]*@", "//flower:petal@", ledger)


def _acl() -> str:
    (line,) = [part for part in REDIS["command"] if part.startswith("--user")]
    return filled(line, {"MURMUR_FLOWER_PASSWORD": "petal"})


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestPlatform, httpx.Client]]:
    """A platform, and the Flower that watches it."""
    directory = tmp_path_factory.mktemp("watched")
    worker = Worker(metrics_port=free_port())
    with (
        running_platform(directory, worker=worker) as platform,
        flower(limited(platform.redis_url), FLOWER_UNAUTHENTICATED_API="true") as http,
    ):
        yield platform, http


def test_list_shows_the_result_line(watched: tuple[TestPlatform, httpx.Client]) -> None:
    _, http = watched
    page = http.get("/tasks").raise_for_status().text
    assert {"State", "Name", "Result", "Exception", "Worker"} <= set(re.findall(r"<th[^>]*>([^<]*)</th>", page))


def test_a_worker_has_one_name_in_flower_prometheus_logs_and_the_ledger(
    watched: tuple[TestPlatform, httpx.Client],
) -> None:
    platform, http = watched
    port = platform.settings.worker.metrics_port
    with platform.client() as client:
        in_ledger = {worker["id"] for worker in client.workers()}
    in_prometheus = _names("murmur_replica_info", "replica", httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    of_flower_s_metrics = _names("flower_worker_online", "worker", http.get("/metrics").text)
    lines = [json.loads(line.split("| ", 1)[1]) for line in list(platform.lines) if "| {" in line]
    in_logs = {line["replica"] for line in lines if line["service"] == "worker"}
    # It asks the workers themselves.
    in_flower = eventually(lambda: set(http.get("/api/workers?refresh=1", timeout=30).raise_for_status().json()))
    assert len(in_flower) == 1
    assert in_flower == of_flower_s_metrics == in_prometheus == in_logs == in_ledger


def _names(metric: str, label: str, text: str) -> set[str]:
    return set(re.findall(rf'^{metric}{{.*\b{label}="([^"]+)".*}} 1\.0$', text, re.MULTILINE))


@pytest.mark.parametrize(
    "command",
    [
        "HGETALL murmur:keys", "GET murmur:fence", "HGETALL murmur:counts", "XRANGE murmur:audit - +",
        "DEL murmur:keys", "SET murmur:x 1", "SCAN 0", "KEYS *", "RANDOMKEY", "DBSIZE", "FLUSHALL",
        "FLUSHDB", "CONFIG GET *", "ACL LIST", "CLIENT LIST", "MONITOR", "SUBSCRIBE murmur:changed", "PSUBSCRIBE *",
        "SORT murmur BY murmur:* GET murmur:*", "COPY murmur murmur:x", "RENAME murmur murmur:x",
        "OBJECT FREQ murmur:keys", "SHUTDOWN", "MEMORY USAGE murmur:keys", "INFO",
    ],
)  # fmt: skip
def test_flower_has_no_way_to_the_ledger(watched: tuple[TestPlatform, httpx.Client], command: str) -> None:
    platform, _ = watched
    with Redis.from_url(limited(platform.redis_url)) as redis:
        assert redis.ping()
        with pytest.raises(NoPermissionError):
            redis.execute_command(*command.split())


def test_a_script_of_flower_s_reaches_no_more_than_flower(watched: tuple[TestPlatform, httpx.Client]) -> None:
    platform, _ = watched
    with Redis.from_url(limited(platform.redis_url)) as redis:
        # kombu's locks are scripts.
        assert redis.eval("return redis.call('llen', KEYS[1])", 1, "murmur") is not None
        for script in ("return redis.call('hgetall', 'murmur:counts')", "return redis.call('keys', '*')"):
            with pytest.raises(RedisError, match=r"The user executing the script can't|permission"):
                redis.eval(script, 0)


def test_a_server_starts_with_the_user_that_compose_names(tmp_path: Path) -> None:
    port = free_port()
    binary = next(iter(ledger_binaries().values()))
    arguments = ["--port", str(port), "--save", "", "--dir", str(tmp_path), "--requirepass", "secret", _acl()]
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)

    def pings(url: str) -> bool:
        with suppress(RedisError), Redis.from_url(url) as redis:
            return bool(redis.ping())
        return False

    try:
        eventually(lambda: pings(f"redis://flower:petal@127.0.0.1:{port}"))
        assert not pings(f"redis://flower:other@127.0.0.1:{port}")
        assert not pings(f"redis://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)
