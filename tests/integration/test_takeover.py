"""A release that changes the ledger's layout serves nobody before the release before has stopped."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from typer.testing import CliRunner

from api.takeover import LISTEN, WAITS, wait_for_turn
from murmur.cli.main import app as cli
from tests.free_port import free_port
from tests.live_api import api_of
from tests.platform import eventually
from transcription.ledger import schema_step
from transcription.settings import Ledger, Settings

SCHEMA, HELD = "murmur:schema", "murmur:schema_held"


@pytest.fixture
def earlier(redis_server: Redis) -> Redis:
    """A ledger of the version before, with nothing in it."""
    redis_server.set(SCHEMA, schema_step.ours() - 1)
    return redis_server


def command(redis_url: str, *words: str) -> tuple[int, str]:
    ran = CliRunner().invoke(cli, ["schema", *words, "--ledger", redis_url])
    return ran.exit_code, ran.output.strip()


def asked(url: str) -> int:
    """The status of a request whose connection may take a few tries."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as http:
        return http.get(url).status_code


@contextmanager
def new_release(redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The API as a process; its address, at which nobody may listen yet."""
    port = free_port()
    told = {
        "PYTHONUNBUFFERED": "1",
        "MURMUR_MODEL": "demo",
        "MURMUR_DATA_DIR": str(tmp_path / "data"),
        "MURMUR_LEDGER__URL": redis_url,
        "MURMUR_LIMITS__MIN_FREE_DISK_BYTES": "0",
        "MURMUR_API__PROCESSES": "1",
        "MURMUR_API__PORT": str(port),
        "TMPDIR": str(tmp_path),
    }
    process = api_of(told)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(30)


def test_a_ledger_that_cannot_be_asked_holds_nobody_back(tmp_path: Path) -> None:
    settings = Settings(ledger=Ledger(url=SecretStr(f"redis://127.0.0.1:{free_port()}/0")))
    with socket.socket() as listener:
        wait_for_turn(settings, listener, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_waits_for_its_turn_then_holds_requests_and_answers_them(
    earlier: Redis, redis_url: str, tmp_path: Path
) -> None:
    assert command(redis_url, "hold") == (0, "held")
    answers: list[int] = []
    with new_release(redis_url, tmp_path) as url:
        eventually((tmp_path / WAITS).exists, within_s=60)
        # Nobody listens: nginx asks another replica.
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/v1/jobs")
        (tmp_path / LISTEN).touch()
        # A request that comes now isn't refused, and waits.
        asks = threading.Thread(target=lambda: answers.append(asked(f"{url}/v1/jobs")))
        asks.start()
        asks.join(1.0)
        assert answers == []
        assert earlier.get(SCHEMA) == str(schema_step.ours() - 1)
        assert command(redis_url, "release") == (0, "")
        asks.join(60)
    assert answers == [200]
    assert earlier.get(SCHEMA) == str(schema_step.ours())


def test_the_step_is_done_before_anybody_who_waits_begins(earlier: Redis, redis_url: str) -> None:
    """A large ledger's takes longer than a request may wait for an answer."""
    command(redis_url, "hold")
    assert command(redis_url, "release") == (0, "")
    assert earlier.get(SCHEMA) == str(schema_step.ours())
    assert not earlier.exists(HELD)


def test_a_step_that_is_given_up_leaves_the_ledger_as_it_is(earlier: Redis, redis_url: str) -> None:
    command(redis_url, "hold")
    assert command(redis_url, "cancel") == (0, "")
    assert earlier.get(SCHEMA) == str(schema_step.ours() - 1)
    assert not earlier.exists(HELD)


def test_nothing_is_held_back_where_there_is_no_step_to_do(redis_server: Redis, redis_url: str) -> None:
    assert command(redis_url, "hold") == (0, "same")
    redis_server.set(SCHEMA, schema_step.ours())
    assert command(redis_url, "hold") == (0, "same")
    assert command(redis_url) == (0, f"ledger: {schema_step.ours()}; this release: {schema_step.ours()}")
    assert not redis_server.exists(HELD)


def test_a_ledger_of_a_newer_release_is_refused(redis_server: Redis, redis_url: str) -> None:
    redis_server.set(SCHEMA, schema_step.ours() + 1)
    ran = CliRunner().invoke(cli, ["schema", "hold", "--ledger", redis_url])
    assert ran.exit_code != 0
    assert "going back needs the backup" in f"{ran.exception}{ran.output}"
    assert not redis_server.exists(HELD)
    redis_server.delete(SCHEMA)  # the next module's API may be there already, and would refuse this ledger


def test_a_hold_that_nobody_lifts_ends_by_itself(earlier: Redis, redis_url: str) -> None:
    command(redis_url, "hold")
    assert 0 < earlier.ttl(HELD) <= schema_step.LONGEST_HOLD_S
