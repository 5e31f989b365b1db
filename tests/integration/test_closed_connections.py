"""Connections that the ledger's server has closed, as every restart does, cost nobody an answer afterwards."""

import asyncio
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from api.auth.rate_limits import AsyncLimiter
from transcription.ledger.connections.clients import connect_async, connect_waiting
from transcription.settings import Ledger

pytestmark = pytest.mark.anyio
COUNT = 4

CLIENTS: dict[str, Callable[[str], AsyncRedis]] = {
    "requests": lambda url: connect_async(Ledger(url=SecretStr(url))),
    "waiting": lambda url: connect_waiting(Ledger(url=SecretStr(url)), longest_s=1),
    "rate limits": lambda url: AsyncRedis(connection_pool=AsyncLimiter(url)._pool),
}


@pytest.mark.parametrize("kind", CLIENTS)
async def test_connections_that_the_server_has_closed_are_found_out_before_they_are_used(
    redis_url: str, redis_server: Redis, kind: str
) -> None:
    client = CLIENTS[kind](redis_url)
    closed = set(await asyncio.gather(*(client.client_id() for _ in range(COUNT))))
    assert len(closed) == COUNT
    for one in closed:
        redis_server.client_kill_filter(_id=str(one))

    async with asyncio.timeout(10):
        # Until the end of each has come.
        while not all([await one.can_read() for one in client.connection_pool._available_connections]):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert await asyncio.gather(*(client.ping() for _ in range(COUNT))) == [True] * COUNT
    await client.connection_pool.disconnect()
