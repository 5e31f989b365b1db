"""The scripts that keep passwords in files: Redis' and nginx' own, and the one that writes the files."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.compose_files import ROOT, stack
from tests.free_port import free_port
from tests.platform import eventually

SERVER = shutil.which("redis-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The port of the ledger's server as the stack starts it, but in a directory here."""
    if SERVER is None or shutil.which("redis-cli") is None:
        pytest.skip("needs redis-server and redis-cli")
    for name, text in (("redis", "p-word"), ("flower", "petal")):
        (tmp_path / f"{name}_password").write_text(text)
    command = stack("docker-compose.secrets.yml")["services"]["redis"]["command"]
    port = free_port()
    told = {"SECRETS_DIR": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}
    options = [word.replace("/data", str(tmp_path)) for word in (*command, f"--port {port}")]
    running = subprocess.Popen(["/bin/sh", ROOT / "deploy/redis.sh", *options], env=told, stdout=subprocess.DEVNULL)
    try:
        with Redis(port=port, password="p-word") as client:
            eventually(lambda: _answers(client), within_s=20)
        yield port
    finally:
        running.terminate()
        running.wait(30)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


def test_the_server_takes_its_passwords_from_files_and_shows_none(server: int, tmp_path: Path) -> None:
    with Redis(port=server, password="p-word", decode_responses=True) as ledger:
        assert ledger.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert ledger.config_get("save") == {"save": ""}
        ledger.set("murmur:job:1", "x")
    with Redis(port=server) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()
    with Redis(port=server, username="flower", password="petal") as flower, pytest.raises(NoPermissionError):
        flower.get("murmur:job:1")
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "p-word" not in shown
    assert "petal" not in shown
    assert stat.S_IMODE((tmp_path / "redis.conf").stat().st_mode) == 0o600


def test_a_client_beside_the_server_has_the_password(server: int, tmp_path: Path) -> None:
    told = {"SECRETS_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    asked = ["/bin/sh", ROOT / "deploy/redis.sh", "redis-cli", "-p", str(server), "ping"]
    assert subprocess.run(asked, env=told, capture_output=True, text=True, check=True).stdout.strip() == "PONG"


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_the_edge_s_operator_may_have_a_password_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    told = {
        "PATH": os.environ["PATH"],
        "EDGE_RUN_DIR": str(tmp_path / "run"),
        "MURMUR_OPERATOR_PASSWORD": "",
        "MURMUR_OPERATOR_PASSWORD_FILE": str(tmp_path / "password"),
        "EDGE_API": "127.0.0.1:8000",
        "EDGE_FLOWER": "127.0.0.1:5555",
        "EDGE_GRAFANA": "127.0.0.1:3000",
    }
    (tmp_path / "run").mkdir()
    render = ["/bin/sh", ROOT / "nginx/render.sh", tmp_path / "run"]
    subprocess.run(render, env=told, capture_output=True, check=True, timeout=30)
    assert (tmp_path / "run/operators").read_text() == "operator:{PLAIN}open sesame\n"
    assert "auth_basic_user_file" in (tmp_path / "run/operators.conf").read_text()


def test_passwords_move_from_the_file_of_variables_into_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/secret-files.sh", tmp_path / "deploy")
    (tmp_path / ".env").write_text("MURMUR_REDIS_PASSWORD=one\nMURMUR_MODEL=demo\nMURMUR_OPERATOR_PASSWORD=two\n")
    (tmp_path / ".env").chmod(0o600)
    for _ in range(2):  # the second time there is nothing to do
        subprocess.run([tmp_path / "deploy/secret-files.sh"], capture_output=True, check=True, timeout=30)
        found = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        assert (found["redis_password"], found["operator_password"], found["grafana_password"]) == ("one", "two", "two")
        assert len(found["flower_password"]) == 48
        assert (tmp_path / ".env").read_text() == "MURMUR_MODEL=demo\n"
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
