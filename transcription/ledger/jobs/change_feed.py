"""Watching computations change: one connection for a whole API process, however many clients wait."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from transcription.errors import outage_endured
from transcription.ledger.connections.fail_fast import new_patience
from transcription.ledger.scripts import CHANGED

MAX_SILENCE_S = 2.0
"""Longest time without another look while nothing listens to the ledger."""

LISTENING_S = 15.0
"""The same while the listener's connection is known to be alive."""

CANCEL_AGAIN_S = 0.1

Found = TypeVar("Found")


class Watch:
    """
    Wakes those who wait for a computation when the ledger says that it changed.

    A message can only be lost with the connection, so everybody takes another look when that ends and when there is a
    new one. While it is silent it is asked whether it lives; so thousands who wait cost nothing while nothing happens.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._listener: asyncio.Task[None] | None = None
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening = False

    async def checks(
        self, computations: Sequence[str], check: Callable[[], Awaitable[Found]], *, longest_s: Callable[[], float]
    ) -> AsyncGenerator[Found | None, None]:
        """
        Yield what *check* finds, now and after every change of the *computations*: the one way to wait for anything.

        None while the ledger is away: whoever waits goes on where they were when it is back. There is another check
        after *longest_s()* seconds at the latest.
        """
        async with self.on(*computations) as changed:
            while True:
                found = None
                new_patience()
                with outage_endured():
                    found = await check()
                yield found
                await changed(longest_s())

    @asynccontextmanager
    async def on(self, *computations: str) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Give a function that returns at the computations' next change, or after so many seconds at the latest."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        event = asyncio.Event()
        for computation in computations:
            self._waiters[computation].add(event)

        async def changed(limit_s: float) -> None:
            longest_s = max(MAX_SILENCE_S, LISTENING_S) if self._listening else MAX_SILENCE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(limit_s, longest_s))
            event.clear()

        try:
            yield changed
        finally:
            for computation in computations:
                self._waiters[computation].discard(event)
                if not self._waiters[computation]:
                    del self._waiters[computation]

    async def close(self) -> None:
        """Stop listening."""
        while self._listener is not None and not self._listener.done():
            # More than once: a cancel that meets the answer of the server in the same moment can be lost.
            self._listener.cancel()
            await asyncio.wait([self._listener], timeout=CANCEL_AGAIN_S)

    async def _listen(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._client.pubsub() as channel:
                    await self._hear(channel)
            self._listening = False
            self._wake_all()
            await asyncio.sleep(0.5)

    async def _hear(self, channel: PubSub) -> None:
        """Wake those who wait, until the connection ends, or doesn't answer when it is asked whether it lives."""
        await channel.subscribe(CHANGED)
        asked = False
        while True:
            message = await channel.get_message(timeout=MAX_SILENCE_S)
            if message is not None:
                asked = False
                if message["type"] == "message":
                    for event in self._waiters.get(message["data"], ()):
                        event.set()
                elif message["type"] == "subscribe":
                    self._listening = True
                    self._wake_all()
            elif asked:
                raise RedisConnectionError("the server doesn't answer on the connection that tells of changes")
            elif self._listening:
                asked = True
                await channel.ping()

    def _wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()
