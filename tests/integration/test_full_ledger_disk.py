"""The disk of the ledger's server is full: the health checks say what a submit meets, and it ends with the fault."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from demo import SAMPLES
from tests.free_port import free_port
from tests.live_api import api_settings, live_api
from tests.platform import eventually
from transcription.settings import Settings

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit") or not shutil.which("redis-server"), reason="needs Linux and redis-server"
)
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis whose files can be kept from growing, which it meets as it meets a full disk: a write fails."""
    (tmp_path / "redis").mkdir()
    port = str(free_port())
    told = ["--port", port, "--dir", str(tmp_path / "redis"), "--appendonly", "yes", "--save", "", "--logfile", "log"]
    with subprocess.Popen(["env", "--ignore-signal=XFSZ", "redis-server", *told]) as running:
        running.port = port  # type: ignore[attr-defined]
        yield running
        running.terminate()


@pytest.fixture
def settings(server: subprocess.Popen[bytes], tmp_path: Path) -> Settings:
    url = f"redis://127.0.0.1:{server.port}/0"  # type: ignore[attr-defined]
    with Redis.from_url(url) as client:
        eventually(lambda: _answers(client))
    return api_settings(url, tmp_path)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def submit(api: httpx.Client) -> httpx.Response:
    return api.post("/v1/jobs", files={"file": SAMPLES["short"].path.read_bytes()})


def test_health_says_that_the_ledgers_disk_is_full_and_that_it_has_room_again(
    settings: Settings, server: subprocess.Popen[bytes]
) -> None:
    with live_api(settings) as api:
        assert submit(api).status_code == 202
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        eventually(lambda: submit(api).status_code == 503)
        health = eventually(lambda: (found := api.get("/health").json()).get("refusal") and found)
        assert health["status"] == "degraded"
        assert health["ledger"] is True
        assert health["refusal"]["code"] == "ledger_unavailable"
        assert "can't write to its disk" in health["refusal"]["message"]
        ready = api.get("/health/ready")
        assert (ready.status_code, ready.json()["refusal"]["code"]) == (503, "ledger_unavailable")
        refused = submit(api)
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        eventually(lambda: "refusal" not in api.get("/health").json(), within_s=30)
        eventually(lambda: submit(api).status_code in {200, 202})
