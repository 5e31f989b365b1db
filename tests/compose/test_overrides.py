"""What the stack does with other settings and with the files beside docker-compose.yml."""

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo import SAMPLES
from tests.buckets import bucket_server, credentials, new_bucket
from tests.compose.stack import PROJECT, Stack
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

BUCKET_FILES = "docker-compose.yml:docker-compose.s3.yml"


@pytest.mark.parametrize(
    "files",
    [
        "docker-compose.yml:docker-compose.cuda.yml",
        "docker-compose.yml:docker-compose.cuda.yml:docker-compose.torch.yml",
        "docker-compose.yml:docker-compose.tls.yml",
        "docker-compose.yml:docker-compose.edges.yml",
        "docker-compose.yml:docker-compose.tls.yml:docker-compose.edges.yml:docker-compose.edges-tls.yml",
        "docker-compose.yml:docker-compose.cuda.yml:docker-compose.s3.yml:docker-compose.tls.yml",
        "docker-compose.macos.yml",
    ],
)
def test_every_file_is_one_that_compose_takes(stack: Stack, files: str) -> None:
    with stack.told(COMPOSE_FILE=files, MURMUR_BLOBS__URL="s3://bucket", MURMUR_BLOBS__SECRET="x" * 16):
        services = set(stack.compose("config", "--services").split())
    assert {"nginx", "api", "redis"} <= services
    assert ({"worker", "models"} <= services) is ("macos" not in files)


def test_bucket_must_be_named(stack: Stack) -> None:
    with stack.told(COMPOSE_FILE=BUCKET_FILES):
        assert "MURMUR_BLOBS__URL" in stack.refused("config", "-q")


@pytest.fixture
def bucket(whole: Stack) -> Iterator[str]:
    """The address of a bucket in which the stack keeps its recordings."""
    with bucket_server(whole.host()) as endpoint:
        url = new_bucket(endpoint)
        told = {"MURMUR_BLOBS__URL": url, "MURMUR_BLOBS__ENDPOINT": endpoint, **credentials()}
        with whole.told(COMPOSE_FILE=BUCKET_FILES, **told):
            whole.compose("up", "-d", "--no-build", "api", "worker")
            eventually(whole.settled, within_s=120, every_s=1)
            yield f"{endpoint}/{url.split('/')[2]}"


def test_recordings_are_kept_in_a_bucket_and_come_to_workers_from_there(
    whole: Stack, bucket: str, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    (path,) = recordings("short", 700, 1)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    whole.compose("stop", "worker")
    with whole.client(patience_s=60) as client:
        job = client.submit(path)
        assert f"uploads/{sha256[:2]}/{sha256}" in httpx.get(f"{bucket}?list-type=2", timeout=10).text
        on_disk = whole.compose("exec", "-T", "api", "find", "/data", "-name", sha256).split()
        assert [path for path in on_disk if not path.startswith("/data/copies/")] == []
        whole.compose("exec", "-T", "api", "rm", "-r", "/data/copies")
        whole.compose("start", "worker")
        ended = client.wait(job.id, seconds=90)
        assert " ".join(client.result(ended.id, "text").split()) == SAMPLES["short"].transcript


def test_model_that_nobody_can_get_stops_up_and_says_what_to_do(stack: Stack) -> None:
    with stack.told(COMPOSE_PROJECT_NAME=f"{PROJECT}-without-a-model", MURMUR_MODEL="auto"):
        try:
            assert "models" in stack.refused("up", "-d", "--no-build", "worker")
            assert "say in MURMUR_MODEL which model" in stack.compose("logs", "models")
            assert not stack.containers("worker")
        finally:
            stack.compose("down", "-v")
    offline = ("-e", "HF_ENDPOINT=http://127.0.0.1:9", "-e", "MURMUR_MODEL=base")
    assert "MURMUR_MODEL=demo" in stack.refused("run", "--rm", "-T", *offline, "models")


def test_logs_in_the_journal_are_read_there_and_by_compose(whole: Stack) -> None:
    if not Path("/run/systemd/journal/socket").exists() or shutil.which("journalctl") is None:
        pytest.skip("no systemd-journald here")
    request_id = f"journal-{uuid.uuid4().hex}"
    with whole.told(COMPOSE_FILE="docker-compose.yml:docker-compose.journald.yml"):
        whole.compose("up", "-d", "--no-build", timeout_s=300)
        eventually(whole.settled, within_s=120, every_s=1)
        assert httpx.get(f"{whole.url}/v1/models", headers={"X-Request-ID": request_id}, timeout=10).is_success
        services = ("nginx", "api")
        eventually(lambda: whole.compose("logs", *services).count(request_id) >= len(services), within_s=20, every_s=1)
        drivers = {container["HostConfig"]["LogConfig"]["Type"] for container in whole.inspect().values()}
        assert drivers == {"journald"}
    read = ["journalctl", "--no-pager", "--output", "cat", f"CONTAINER_TAG={PROJECT}-nginx-1"]
    written = subprocess.run(read, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    (line,) = (json.loads(one) for one in written if request_id in one)
    assert (line["service"], line["path"]) == ("nginx", "/v1/models")
