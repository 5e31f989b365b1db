"""The worker's health check, against the real ledger: what it asks, and what it makes of the answer."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.ledger_worker import LedgerWorker
from tests.platform import running_ledger
from transcription.ledger.connections import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from worker import health_check

CHECK = Path(health_check.__file__)


@pytest.fixture
def spans(redis_url: str) -> Iterator[RedisSpans]:
    settings = Settings(ledger={"url": redis_url})
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


def check(url: str | None, *names: str) -> tuple[int, str]:
    """Run it as the image does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")}
    if url is not None:
        environment["MURMUR_LEDGER__URL"] = url
    ran = subprocess.run(
        [sys.executable, "-IS", str(CHECK), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert not ran.stderr
    return ran.returncode, ran.stdout


def seen_ago(redis: Redis, name: str, seconds: float) -> None:
    redis.zadd("murmur:workers", {name: (redis.time()[0] - seconds) * 1000})


def test_worker_that_gave_a_sign_of_life_is_well(redis_url: str, spans: RedisSpans) -> None:
    LedgerWorker(spans, "w1")
    status, said = check(redis_url, "w1")
    assert status == 0
    assert "w1: last" in said


@pytest.mark.parametrize(("age_s", "status"), [(5, 0), (40, 0), (80, 1), (3600, 1)])
def test_worker_that_has_been_silent_for_a_minute_is_not(
    redis_url: str, redis_server: Redis, age_s: float, status: int
) -> None:
    seen_ago(redis_server, "w1", age_s)
    assert check(redis_url, "w1")[0] == status


def test_worker_that_never_gave_a_sign_of_life_is_not(redis_url: str, redis_server: Redis) -> None:
    seen_ago(redis_server, "another", 1)
    status, said = check(redis_url, "w1")
    assert status == 1
    assert "yet" in said


def test_container_asks_for_the_name_that_its_worker_has(redis_url: str, redis_server: Redis) -> None:
    assert check(redis_url)[0] == 1
    seen_ago(redis_server, f"worker@{socket.gethostname()}", 1)
    assert check(redis_url)[0] == 0


def test_ledger_that_does_not_answer_is_no_reason_to_start_a_worker_again() -> None:
    status, said = check("redis://127.0.0.1:1/0", "w1")
    assert status == 0
    assert "isn't known" in said


def test_ledger_that_refuses_is_no_reason_either(redis_url: str) -> None:
    status, said = check(redis_url.replace("//", "//:wrong@"), "w1")
    assert status == 0
    assert "isn't known" in said


def test_password_user_and_database_of_the_url_are_used(tmp_path: Path) -> None:
    with running_ledger(tmp_path) as server, Redis.from_url(server.url, decode_responses=True) as redis:
        redis.config_set("requirepass", "p@ss word")
        redis.acl_setuser("health", enabled=True, passwords=["+s/cret"], keys="*", commands=["+@all"])
        with Redis(port=server.port, db=3, password="p@ss word") as third:
            seen_ago(third, "w1", 1)
        base = f"127.0.0.1:{server.port}"
        for who in (":p%40ss%20word", "health:s%2Fcret"):
            assert "w1: last" in check(f"redis://{who}@{base}/3", "w1")[1]
        assert check(f"redis://:p%40ss%20word@{base}/0", "w1")[0] == 1
        assert "isn't known" in check(f"redis://{base}/3", "w1")[1]
        redis.config_set("requirepass", "")
