"""A client of Redis that waits for a silent server once, however many ask."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

SILENT_S = 1.0
"""How long a failure stands for the next ones."""


class NotSent(RedisConnectionError):
    """The command was never sent, because the server had just failed to answer others."""


class FailFastRedis(Redis):
    """
    Gives every command *timeout_s* in all: for a connection, for sending, and for the answer.

    When a command got no answer, and no other one got any while it waited, the server is taken to be down: commands
    within the next `SILENT_S` seconds fail at once. So two hundred who come together are refused together.
    """

    def __init__(self, pool: BlockingConnectionPool, *, timeout_s: float) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._timeout_s = timeout_s
        self._answered_at = float("-inf")
        self._silent_until = float("-inf")

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer. NotSent, and what redis-py raises."""
        async with self.bounded():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Hold what is asked of the server inside the block to the rules above; for pipelines."""
        began = time.monotonic()
        if began < self._silent_until:
            raise NotSent("the server gave no answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            self._failed(began)
            raise RedisTimeoutError(f"no answer within {self._timeout_s:g} s") from error
        except ResponseError:
            self._answered_at = time.monotonic()
            raise
        except (RedisError, OSError):
            self._failed(began)
            raise
        self._answered_at = time.monotonic()

    def _failed(self, began: float) -> None:
        if self._answered_at < began:
            self._silent_until = time.monotonic() + SILENT_S
