"""One round trip for all who ask at the same time."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.platform import eventually_async
from transcription.ledger.connections.batches import Batches

pytestmark = pytest.mark.anyio


class _Store:
    """Answers in upper case, as soon as it may; notes what each call was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.broken: Exception | None = None

    async def load(self, keys: Sequence[str]) -> list[str]:
        self.calls.append([*keys])
        await self.may_answer.wait()
        if self.broken is not None:
            raise self.broken
        return [key.upper() for key in keys]


async def test_all_who_ask_at_once_are_answered_by_one_call() -> None:
    store = _Store()
    store.may_answer.set()
    batches = Batches(store.load)
    assert await asyncio.gather(*(batches.get(key) for key in "abcab")) == ["A", "B", "C", "A", "B"]
    assert store.calls == [["a", "b", "c"]]


async def test_who_asks_during_a_call_is_answered_by_the_next_one_even_for_the_same_key() -> None:
    store = _Store()
    batches = Batches(store.load)
    first = asyncio.create_task(batches.get("a"))
    await eventually_async(lambda: store.calls)
    second = asyncio.create_task(batches.get("a"))
    await asyncio.sleep(0)
    assert store.calls == [["a"]]
    store.may_answer.set()
    assert await asyncio.gather(first, second) == ["A", "A"]
    assert store.calls == [["a"], ["a"]]


async def test_a_call_never_asks_for_more_than_it_may() -> None:
    store = _Store()
    store.may_answer.set()
    batches = Batches(store.load, most=2)
    assert await asyncio.gather(*(batches.get(key) for key in "abcde")) == [*"ABCDE"]
    assert store.calls == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_failed_call_fails_for_all_in_it_and_for_nobody_after_it() -> None:
    store = _Store()
    store.may_answer.set()
    store.broken = ConnectionError("gone")
    batches = Batches(store.load)
    assert {type(end) for end in await asyncio.gather(*map(batches.get, "ab"), return_exceptions=True)} == {
        ConnectionError
    }
    store.broken = None
    assert await batches.get("a") == "A"


async def test_a_client_that_leaves_takes_nobody_with_it() -> None:
    store = _Store()
    batches = Batches(store.load)
    leaving, staying = (asyncio.create_task(batches.get("a")) for _ in range(2))
    await eventually_async(lambda: store.calls)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.may_answer.set()
    assert await staying == "A"
