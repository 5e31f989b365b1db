"""The one listener of a process: it ends when it is closed."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any, cast

from transcription.ledger.change_feed import Watch


class _Channel:
    """A subscription that takes the first cancel for an answer, as a reply of that very moment makes redis-py do."""

    def __init__(self) -> None:
        self.cancels = 0

    async def subscribe(self, _: str) -> None:
        """Be subscribed."""

    async def get_message(self, **_: float) -> None:
        try:
            await asyncio.sleep(60)  # fine: ended by the cancel
        except asyncio.CancelledError:
            self.cancels += 1
            if self.cancels > 1:
                raise


class _Redis:
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    @asynccontextmanager
    async def pubsub(self, **_: bool) -> Any:
        yield self._channel


def test_closing_ends_a_listener_that_missed_the_first_cancel() -> None:
    channel = _Channel()

    async def close() -> None:
        watch = Watch(cast("Any", _Redis(channel)))
        async with watch.on("c"):
            await asyncio.sleep(0)  # fine: lets the listener begin
        await asyncio.wait_for(watch.close(), 30)

    asyncio.run(close())
    assert channel.cancels == 2
