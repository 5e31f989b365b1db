"""The API's garbage: requests leave none, and what lives long isn't looked at again and again."""

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest

from api.garbage import MIDDLE, YOUNG, Survivors
from transcription.ledger.connections.fail_fast import Lateness


class Held:
    """An object in a cycle with itself."""

    def __init__(self) -> None:
        self.itself: Held | None = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def _allocated(count: int) -> list[Held]:
    return [Held() for _ in range(count)]


def test_command_with_a_limit_leaves_nothing_to_the_garbage_collector() -> None:
    async def commands() -> int:
        lateness = Lateness()
        async with lateness.excluded(1.0):
            await asyncio.sleep(0)
        gc.collect()
        gc.disable()
        for _ in range(20):
            async with lateness.excluded(1.0):
                await asyncio.sleep(0)
        return gc.collect()

    try:
        assert asyncio.run(commands()) == 0
    finally:
        gc.enable()


def test_what_has_survived_is_not_looked_at_again_but_freed_when_much_more_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.garbage.MORE", 0)
    survivors = Survivors()
    portion = YOUNG * MIDDLE
    held = _allocated(portion)
    survivors.look()
    aside = gc.get_freeze_count()
    assert aside >= portion
    assert sum(isinstance(one, Held) for one in gc.get_objects()) < portion  # the collector doesn't see them
    del held
    assert gc.collect() < portion  # a cycle that nobody holds, and that was set aside
    kept, alive = [], sys.getallocatedblocks()
    while sys.getallocatedblocks() <= 2 * alive + portion * 8 and len(kept) < 200:
        kept.append(_allocated(portion))
        before = gc.get_freeze_count()
        survivors.look()
        if gc.get_freeze_count() < before + portion:
            return  # all was looked at, and the cycles from above are gone
    pytest.fail("what nobody holds was never freed")


def test_young_objects_are_set_aside_though_as_many_old_ones_end() -> None:
    old = _allocated(10_000)
    survivors = Survivors()
    young = []
    while old:  # Python's own count of the young stands still
        young.append(Held())
        old.pop().itself = None
    survivors.look()
    assert len(young) == 10_000
    assert not [one for one in gc.get_objects() if isinstance(one, Held)]
