"""The one listener of a process: it ends when it is closed."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from transcription.ledger.jobs.change_feed import Watch


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


class _Silent:
    """A subscription whose server goes silent; it tells what it was asked, and wakes up for the next connection."""

    def __init__(self) -> None:
        self.pings = 0
        self._said = [{"type": "subscribe", "data": 1}]

    async def subscribe(self, _: str) -> None:
        """Be subscribed."""

    async def ping(self) -> None:
        self.pings += 1

    async def get_message(self, **_: float) -> dict[str, Any] | None:
        await asyncio.sleep(0.01)  # fine: whoever was woken looks before there is more
        return self._said.pop() if self._said else None


class _Connections:
    def __init__(self) -> None:
        self.opened: list[_Silent] = []

    @asynccontextmanager
    async def pubsub(self, **_: bool) -> Any:
        self.opened.append(_Silent())
        yield self.opened[-1]


def test_connection_that_is_silent_when_asked_is_replaced_and_all_who_wait_look_again() -> None:
    connections = _Connections()

    async def wait() -> list[tuple[int, int, bool]]:
        watch = Watch(cast("Any", connections))
        looks = []

        async def look() -> None:
            opened = connections.opened
            looks.append((len(opened), opened[-1].pings if opened else 0, watch._listening))

        async with aclosing(watch.checks("c", look, longest_s=lambda: 60.0)) as checks:
            async for _ in checks:
                if len(connections.opened) >= 2:
                    break
        await watch.close()
        assert not watch._waiters
        return looks

    looks = asyncio.run(asyncio.wait_for(wait(), 30))
    assert connections.opened[0].pings == 1
    assert 3 <= len(looks) <= 5, "at first, when it is listened to, when that ends, and when it is listened to again"
    assert (1, 1, False) in looks, "when that ends, nobody waits for the next connection, which may never come"
