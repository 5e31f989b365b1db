"""
Fixtures for every test: real servers, started once and emptied between tests.

A server that can't be had fails the test that needs it: the locks bring one along.
"""

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.platform import ledger_server


@pytest.fixture(scope="session")
def ledger_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey or Redis for the whole session; use `redis_url`, which empties it first."""
    with ledger_server(tmp_path_factory.mktemp("ledger")) as server:
        yield server.url


@pytest.fixture
def redis_server(ledger_url: str) -> Iterator[Redis]:
    """A client of the real server, empty at the test's start."""
    with Redis.from_url(ledger_url, decode_responses=True) as redis:
        redis.flushall()
        yield redis


@pytest.fixture
def redis_url(ledger_url: str, redis_server: Redis) -> str:
    """The URL of the real server, empty at the test's start."""
    return ledger_url
