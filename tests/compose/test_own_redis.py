"""The ledger on a Redis outside the project, with a password; and the stack's own is left out."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo import SAMPLES
from tests.compose.stack import PROJECT, Stack
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

NAME = f"{PROJECT}-own-redis"
PASSWORD = "of-somebody-else"


def redis(*words: str) -> str:
    """What that Redis answers."""
    cli = ["docker", "exec", "-e", f"REDISCLI_AUTH={PASSWORD}", NAME, "redis-cli", "--no-auth-warning", *words]
    return subprocess.run(cli, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@pytest.fixture
def own(whole: Stack) -> Iterator[Stack]:
    """The stack with its ledger there."""
    # Flower's user there may do what it may on the stack's own.
    command = json.loads(whole.compose("config", "--format", "json"))["services"]["redis"]["command"]
    (user,) = (option for option in command if option.startswith("--user flower "))
    flower = [word.replace("nopass", ">seen") for word in user.split()[2:]]
    run = ["docker", "run", "-d", "--name", NAME, "--network", f"{PROJECT}_outside", "redis:8-alpine", "redis-server"]
    options = ["--requirepass", PASSWORD, "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
    subprocess.run([*run, *options], check=True, capture_output=True, timeout=60)
    told = {
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.redis.yml",
        "MURMUR_LEDGER__URL": f"redis://:{PASSWORD}@{NAME}:6379/0",
        "MURMUR_FLOWER_BROKER_URL": f"redis://flower:seen@{NAME}:6379/0",
    }
    try:
        eventually(lambda: redis("ping") == "PONG", within_s=30)
        redis("acl", "setuser", "flower", *flower)
        whole.compose("stop", "redis")
        with whole.told(**told):
            whole.compose("up", "-d", "--no-build", timeout_s=300)
            eventually(whole.settled, within_s=120, every_s=1)
            yield whole
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", NAME], check=True, capture_output=True, timeout=60)


def test_a_redis_of_ones_own_with_a_password_holds_the_ledger(
    own: Stack, recordings: Callable[[str, int, int], list[Path]], tmp_path: Path
) -> None:
    first, second = recordings("short", 900, 2)
    with own.client(patience_s=60) as client:
        done = client.wait(client.submit(first).id, seconds=120)
        assert " ".join(client.result(done.id, "text").split()) == SAMPLES["short"].transcript
        assert int(redis("dbsize")) > 5
        assert redis("get", "murmur:schema").isdigit()
        assert not own.containers("redis")
        # An upgrade and a backup find it as well, and everybody who is started anew.
        own.script("deploy/upgrade.sh", "--no-build", timeout_s=420)
        own.script("deploy/backup.sh", str(tmp_path))
        assert (tmp_path / "backup.tar").stat().st_size > 10_000
        eventually(lambda: own.workers() == 1, within_s=120, every_s=1)
        assert client.wait(client.submit(second).id, seconds=120).status == "completed"
    assert httpx.get(f"{own.url}/health/ready", timeout=10).is_success
    seen = httpx.get(f"{own.url}/flower/workers?json=1", auth=("operator", "for the tests alone"), timeout=10)
    assert "worker@" in seen.text
    # It asks for its password.
    asked = ["docker", "exec", NAME, "redis-cli", "get", "murmur:schema"]
    assert "NOAUTH" in subprocess.run(asked, check=False, capture_output=True, text=True, timeout=30).stdout
