"""The thread that the torch engine's rows are written in: its errors, its memory, its end."""

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from torch import Tensor

from tests.plain_search import NOT_FIRST, START, Plainly, Wish, assert_alike, slots_of, sound_of, written_by
from tests.platform import eventually
from tests.tiny_network import tiny_network
from transcription.errors import Stopped
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.layout import slot_bytes, slots_now
from worker.engines.torch.device.loop import PARTS, Loop
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.slots import Slots

ASKED = Asked(START, 0, 5, 0.0, True, 9)


@pytest.fixture(scope="module")
def network() -> Network:
    return replace(tiny_network(), suppressed_first=NOT_FIRST)


def test_more_rows_than_are_placed_at_once_are_all_written_and_some_with_long_texts_before_them(
    network: Network,
) -> None:
    loop = Loop(
        lambda beams, _: slots_of(network, 12, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=8
    )
    long = replace(ASKED, prompt=(36, *[number % 29 for number in range(150)], *START), start=151)
    given = [Wish(number, long if number == 5 else ASKED) for number in range(12)]
    try:
        found = written_by(loop, given)
    finally:
        loop.close()
    for ours, wish in zip(found, given, strict=True):
        with torch.inference_mode():
            assert_alike(ours, Plainly(network, sound_of(wish.sound)).search(wish.asked), wish)


def test_what_is_drawn_differs_each_time(network: Network) -> None:
    loop = Loop(
        lambda beams, _: slots_of(network, 4, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=8
    )
    try:
        found = written_by(loop, [Wish(1, replace(ASKED, width=1, temperature=9.0))] * 4)
    finally:
        loop.close()
    assert len({tuple(one.tokens) for one in found}) > 1


def broken_at_first(network: Network, count: int) -> Callable[[int], Slots]:
    """Makes slots the first of which fail at their first step."""
    broken = [True]

    def made(beams: int, _: int = 1) -> Slots:
        slots = slots_of(network, count, beams)
        if broken.pop() if broken else False:
            slots.step = lambda *_, **__: (_ for _ in ()).throw(RuntimeError("CUDA error"))  # type: ignore[method-assign]
        return slots

    return made


def test_an_error_of_the_device_reaches_every_row_and_the_next_ones_are_written(network: Network) -> None:
    loop = Loop(broken_at_first(network, 4), lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        given = [Wish(n, Asked(START, 0, 5, 0.0, True, 9)) for n in range(3)]
        futures = loop.write([sound_of(wish.sound) for wish in given], [wish.asked for wish in given])
        assert [type(future.exception(20)) for future in futures] == [RuntimeError] * 3
        with torch.inference_mode():
            expected = Plainly(network, sound_of(0)).search(given[0].asked)
        assert_alike(written_by(loop, given[:1])[0], expected, given[0])
    finally:
        loop.close()


def test_an_error_of_a_step_is_not_that_of_rows_that_wait_for_a_slot(network: Network) -> None:
    loop = Loop(broken_at_first(network, 2), lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        futures = loop.write([sound_of(n) for n in range(4)], [ASKED] * 4)
        assert [type(future.exception(20)) for future in futures] == [RuntimeError] * 2 + [type(None)] * 2
        with torch.inference_mode():
            expected = Plainly(network, sound_of(3)).search(ASKED)
        assert_alike(futures[3].result()(), expected, Wish(3, ASKED))
    finally:
        loop.close()


def test_a_step_looks_at_few_slots_once_few_rows_are_left(network: Network) -> None:
    loop = Loop(
        lambda beams, _: slots_of(network, 12, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=8
    )
    short, long = (replace(ASKED, width=1, timed=False, limit=limit) for limit in (2, 60))
    endless = sound_of(29)
    try:
        futures = loop.write([endless] * 12, [*[short] * 11, long])
        assert [len(future.result(20)().tokens) for future in futures] == [2] * 11 + [60]
        figures = loop.figures()[1]
    finally:
        loop.close()
    assert figures["looked_at"] < 2 * figures["rows"]


def test_slots_with_rows_in_them_stay_where_there_is_no_memory_for_others(network: Network) -> None:
    held, full = threading.Event(), [True]

    def made(beams: int, _: int = 1) -> Slots:
        if beams == 10 and full:
            full.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return slots_of(network, 2, beams)

    loop = Loop(made, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(loop.call, lambda: held.wait(20))
            eventually(lambda: first.running() and not loop._calls)
            futures = loop.write([sound_of(1), sound_of(2)], [ASKED, replace(ASKED, width=10)])
            held.set()
        assert [len(future.result(20)().tokens) > 0 for future in futures] == [True, True]
    finally:
        loop.close()


def test_slots_for_which_there_is_no_memory_take_the_place_of_idle_ones(network: Network) -> None:
    live: list[int] = []

    def made(beams: int, _: int = 1) -> Slots:
        live[:] = running._groups
        if live:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return slots_of(network, 2, beams)

    running = Loop(made, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        for width in (5, 10, 1, 5):
            wish = Wish(7, Asked(START, 0, width, 0.0, True, 9))
            with torch.inference_mode():
                expected = Plainly(network, sound_of(7)).search(wish.asked)
            assert_alike(written_by(running, [wish])[0], expected, wish)
    finally:
        running.close()


def test_slots_for_which_there_is_no_memory_are_tried_again_when_that_is_free_again_and_then_fewer(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    taken: list[weakref.ref[Tensor]] = []
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(any(part() is not None for part in taken)))

    class Taken:
        """Takes one cache after another, until there is no room."""

        def __init__(self) -> None:
            self.caches = [torch.zeros(4) for _ in range(40)]
            taken.extend(weakref.ref(cache) for cache in self.caches)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def made(beams: int, part: int) -> Slots:
        tried.append(part)
        if part < 4:
            Taken()
        return slots_of(network, 2, beams)

    loop = Loop(made, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        assert written_by(loop, [Wish(1, ASKED)])[0].tokens
    finally:
        loop.close()
    assert tried == [1, 1, 2, 4], "as many once more, since idle ones may be gone, then half as many"
    assert emptied == [False] * 3, "what was taken in vain is free by then"


def test_slots_that_nobody_needs_are_gone_at_once_without_a_search_for_circles(network: Network) -> None:
    """Also those of a step that failed, though the error is still there."""
    made: list[weakref.ref[Slots]] = []
    broken = [False, False, True]

    def remembered(beams: int, _: int) -> Slots:
        slots = slots_of(network, 2, beams)
        made.append(weakref.ref(slots))
        if broken.pop():
            slots.place = lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA error"))  # type: ignore[method-assign]
        return slots

    gc.disable()
    try:
        loop = Loop(remembered, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
        (failed,) = loop.write([sound_of(1)], [ASKED])
        assert isinstance(failed.exception(20), RuntimeError)
        written_by(loop, [Wish(1, ASKED), Wish(2, replace(ASKED, width=1))])
        assert [slots() is not None for slots in made] == [False, True, True]
        loop.close()
        assert [slots() for slots in made] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("free_gib", "reserved_gib", "beams", "slots"),
    [(120, 0, 5, 64), (20, 0, 5, 28), (20, 0, 10, 17), (5, 0, 10, 4), (1, 4, 10, 4), (0.1, 0, 5, 1)],
)
def test_slots_are_as_many_as_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, reserved_gib: float, beams: int, slots: int
) -> None:
    large: Any = SimpleNamespace(
        device=SimpleNamespace(type="cuda"), dtype=torch.float16, width=1280, decoder=SimpleNamespace(layers=range(32))
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free_gib * 2**30), 140 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int(reserved_gib * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    assert slots_now(large, beams, 64) == slots


def test_a_slot_of_large_takes_what_was_measured() -> None:
    """64 slots, five beams, float16 on an H200: the worker held 42.8 GiB, of which 3.5 were weights and context."""
    large: Any = SimpleNamespace(dtype=torch.float16, width=1280, decoder=SimpleNamespace(layers=range(32)))
    assert slot_bytes(large) * 64 / 2**30 == pytest.approx(42.8 - 3.5, rel=0.1)


def test_who_waits_when_an_engine_is_closed_is_told_and_who_comes_later_too(network: Network) -> None:
    """Rows in slots and rows that wait for one, windows to be encoded, calls."""
    held = threading.Event()
    loop = Loop(
        lambda beams, _: slots_of(network, 2, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=1
    )
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(loop.call, lambda: held.wait(20))
        eventually(lambda: first.running() and not loop._calls)
        written = loop.write([sound_of(n) for n in range(5)], [ASKED] * 5)
        encoded, second = pool.submit(loop.encode, [1, 2]), pool.submit(loop.call, int)
        eventually(lambda: len(loop._sounds) == 2 and bool(loop._calls))
        closing = pool.submit(loop.close)
        eventually(lambda: loop._closed)
        held.set()
        closing.result(20)
        assert first.result(20)
        waiting: list[Future[Any]] = [*written, encoded, second]
        assert [type(one.exception(20)) for one in waiting] == [Stopped] * 7
    for late in (lambda: loop.call(int), lambda: loop.encode([1]), lambda: loop.write([sound_of(1)], [ASKED])):
        with pytest.raises(Stopped):
            late()


def test_errors_of_calls_and_of_the_encoder_are_their_callers_and_the_thread_lives_on(network: Network) -> None:
    batches: list[int] = []

    def encode(sounds: Any) -> list[Tensor]:
        batches.append(len(sounds))
        if "broken" in sounds:
            raise RuntimeError("CUDA error")
        return [torch.zeros(1)] * len(sounds)

    loop = Loop(lambda beams, _: slots_of(network, 2, beams), encode, stream=torch.inference_mode, crowd=8)
    try:
        with pytest.raises(ZeroDivisionError):
            loop.call(lambda: 1 / 0)
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(loop.encode, ["broken", "whole"]), pool.submit(loop.encode, ["broken"])]
            assert [type(one.exception(20)) for one in both] == [RuntimeError] * 2
        assert len(loop.encode(range(20))) == 20
        assert max(batches) == 8
        assert loop.call(lambda: 3) == 3
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("count", "batches"),
    [
        (2, [(4, 8), (1, 15)]),  # full: the first waits for three others; the fifth, alone, no longer than it did
        (4, [(1, 2), (1, 3), (1, 4), (1, 5), (1, 9)]),  # there is room: each at once
    ],
)
def test_while_slots_are_full_windows_wait_a_few_steps_to_be_encoded_together(
    network: Network, count: int, batches: list[tuple[int, int]]
) -> None:
    steps, found, futures = 0, [], []

    def encode(sounds: Any) -> list[Tensor]:
        found.append((len(sounds), steps))
        return [torch.zeros(1)] * len(sounds)

    def made(beams: int, _: int) -> Slots:
        slots = slots_of(network, count, beams)
        step = slots.step

        def stepped(rows: int, length: int, *, drawing: bool) -> None:
            nonlocal steps
            steps += 1
            if steps in {2, 3, 4, 5, 9}:
                futures.append(Future())
                loop._sounds.append(("sound", futures[-1]))
            step(rows, length, drawing=drawing)

        slots.step = stepped  # type: ignore[method-assign]
        return slots

    loop = Loop(made, encode, stream=torch.inference_mode, crowd=8)
    endless = replace(ASKED, width=1, timed=False, limit=30)
    try:
        for written in loop.write([sound_of(29)] * 2, [endless] * 2):
            assert len(written.result(20)().tokens) == 30
        assert len(loop.encode(["alone"])) == 1, "nobody is there to wait for"
    finally:
        loop.close()
    assert [future.done() for future in futures] == [True] * 5
    assert found[:-1] == batches


def test_windows_for_which_there_is_no_memory_are_encoded_fewer_together_from_then_on(network: Network) -> None:
    held, room, batches = threading.Event(), 2, []

    def encode(sounds: Any) -> list[Tensor]:
        batches.append(len(sounds))
        if len(sounds) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return [torch.full((1,), float(sound)) for sound in sounds]

    loop = Loop(lambda beams, _: slots_of(network, 2, beams), encode, stream=torch.inference_mode, crowd=8)
    try:
        with ThreadPoolExecutor(18) as pool:
            first = pool.submit(loop.call, lambda: held.wait(20))
            eventually(lambda: first.running() and not loop._calls)
            callers = [pool.submit(loop.encode, [number]) for number in range(17)]
            eventually(lambda: len(loop._sounds) == 17)
            held.set()
            assert [float(one.result(20)[0]) for one in callers] == [*range(17)]
        assert batches == [8, 4, *[2] * 8, 1]
        assert [float(one) for one in loop.encode(range(9))] == [*range(9)]
        assert max(batches[10:]) == 2
        room = 0
        with pytest.raises(torch.OutOfMemoryError):
            loop.encode([1])
        room = 2
        assert [float(one) for one in loop.encode([3])] == [3]
    finally:
        loop.close()


def test_a_window_for_which_there_is_no_memory_is_encoded_in_the_place_of_idle_slots(network: Network) -> None:
    emptied: list[int] = []

    def encode(sounds: Any) -> list[Tensor]:
        if loop._groups:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        emptied.append(len(sounds))
        return [torch.zeros(1)] * len(sounds)

    loop = Loop(lambda beams, _: slots_of(network, 2, beams), encode, stream=torch.inference_mode, crowd=8)
    try:
        assert written_by(loop, [Wish(1, ASKED)])[0].tokens
        assert loop._groups
        assert len(loop.encode([1])) == 1
        assert emptied == [1]
        assert written_by(loop, [Wish(1, ASKED)])[0].tokens
    finally:
        loop.close()


def test_rows_for_which_there_is_no_memory_at_all_fail_and_rows_that_were_given_up_harm_nobody(
    network: Network,
) -> None:
    full = [True] * len(PARTS)

    def made(beams: int, _: int = 1) -> Slots:
        if full:
            full.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return slots_of(network, 2, beams)

    loop = Loop(made, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        (failed,) = loop.write([sound_of(1)], [ASKED])
        assert isinstance(failed.exception(20), torch.OutOfMemoryError)
        given_up, other = loop.write([sound_of(1), sound_of(2)], [ASKED] * 2)
        given_up.cancel()
        assert other.result(20)().tokens
        assert written_by(loop, [Wish(1, ASKED)])[0].tokens
    finally:
        loop.close()
