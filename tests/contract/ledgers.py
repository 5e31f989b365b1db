"""What the contracts of the ledger's stores are asked of: fakeredis, and every real server that its users may run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest
from redis import Redis

from tests.platform import ledger_binaries
from transcription.ledger.connections.clients import connect, connect_async
from transcription.settings import Settings

FAKE = "fakeredis"
SERVERS = [*ledger_binaries()]
LEDGERS = [FAKE, *SERVERS]
"""fakeredis runs our scripts in the test's own process: what is wrong in Lua shows without any server."""


def beyond_fakeredis(fixture: str) -> pytest.MarkDecorator:
    """A test whose scripts need what fakeredis hasn't: INFO, or `redis.sha1hex`."""
    return pytest.mark.parametrize(fixture, ["memory", *SERVERS], indirect=True)


@dataclass
class Ledger:
    """An empty server, or what acts as one; every client that it gives is a new one."""

    settings: Settings
    client: Callable[[], Redis]
    async_client: Callable[[], Any]


def ledger_of(request: pytest.FixtureRequest, name: str) -> Ledger:
    """The ledger of that name, emptied."""
    if name == FAKE:
        server = fakeredis.FakeServer(server_type="valkey")
        return Ledger(
            Settings(ledger={"timeout_s": 20}),
            lambda: fakeredis.FakeRedis(server=server, decode_responses=True),
            lambda: fakeredis.FakeAsyncRedis(server=server, decode_responses=True),
        )
    url = request.getfixturevalue("server_url")(name)
    with Redis.from_url(url) as redis:
        redis.flushall()
    settings = Settings(ledger={"url": url, "timeout_s": 20})
    return Ledger(settings, lambda: connect(settings.ledger), lambda: connect_async(settings.ledger))
