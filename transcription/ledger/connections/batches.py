"""Many who ask for the same kind of thing, answered by one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Generic, TypeVar

from transcription.ledger.connections.fail_fast import waiting as waiting_for_the_ledger

Key = TypeVar("Key")
Found = TypeVar("Found")

MOST = 64
"""Keys of one call: the server does nothing else while it answers."""


class Batches(Generic[Key, Found]):
    """
    Looks things up, many at a time: what is asked for while a call is under way goes out together with the next one.

    Whoever asks never gets what was read before they asked, so that a client sees its own last change. A call that
    fails fails for all who were in it.

    Args:
        load: Takes keys, each once, and gives what was found, in the same order.
        most: Keys of one call.
    """

    def __init__(self, load: Callable[[Sequence[Key]], Awaitable[Sequence[Found]]], *, most: int = MOST) -> None:
        self._load = load
        self._most = most
        self._waiting: dict[Key, list[asyncio.Future[Found]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Found:
        """What is found under *key*, together with those for whom others ask just now. Whatever *load* raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [future]
        else:
            waiting.append(future)
        if self._running is None or self._running.done():
            # It works for many, so nothing of this request (its id in the log) may stick to it.
            self._running = loop.create_task(self._run(), context=Context())
        with waiting_for_the_ledger():
            return await future

    async def _run(self) -> None:
        while self._waiting:
            keys = list(islice(self._waiting, self._most))
            asked = [self._waiting.pop(key) for key in keys]
            try:
                found = await self._load(keys)
            except Exception as error:  # noqa: BLE001  it is raised where the key was asked for
                for future in _unanswered(asked):
                    future.set_exception(error)
            except BaseException:
                for future in _unanswered(asked):
                    future.cancel()
                raise
            else:
                for futures, value in zip(asked, found, strict=True):
                    for future in futures:
                        if not future.done():
                            future.set_result(value)


def _unanswered(asked: list[list[asyncio.Future[Found]]]) -> list[asyncio.Future[Found]]:
    """Those who still wait: a client that left has given its future up."""
    return [future for futures in asked for future in futures if not future.done()]
