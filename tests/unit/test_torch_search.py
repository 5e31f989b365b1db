"""
The search of the torch engine against one that is written down plainly: no caches, no slots, one window at a time.

The network is tiny and has learnt nothing, so that a text is as surprising as it can be; it takes a moment.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from torch import Tensor

from tests.plain_search import NOT_FIRST, START, Plainly, Wish, assert_alike, slots_of, sound_of, written_by
from tests.tiny_network import IDS, MARKS, tiny_network
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.graphs import Steps
from worker.engines.torch.device.loop import BEAMS, Loop
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.slots import Slots, Written


@pytest.fixture(scope="module")
def network() -> Network:
    return replace(tiny_network(), suppressed_first=NOT_FIRST)


@pytest.fixture(scope="module")
def loop(network: Network) -> Iterator[Loop]:
    """Few slots for many rows, so that slots are used again and rows move."""
    running = Loop(
        lambda beams, _: slots_of(network, 5, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=8
    )
    yield running
    running.close()


def wishes(count: int, seed: int) -> list[Wish]:
    """Rows that differ in everything that a row may differ in."""
    dice, found = random.Random(seed), []
    for number in range(count):
        timed = dice.random() < 0.6
        previous = [36, *(dice.randrange(29) for _ in range(dice.choice((0, 2, 7, 30))))]
        before = [] if dice.random() < 0.4 else previous
        prompt = (*before, *START, *([] if timed else [MARKS.timestamps - 1]))
        width = dice.choice((1, 1, 2, 3, 5, 5, 8, 10))
        limit = dice.choice((3, 9, 24, 24, 70))
        found.append(Wish(100 * seed + number, Asked(prompt, len(before), width, 0.0, timed, limit)))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_rows_that_come_and_go_write_what_a_search_without_slots_writes(
    network: Network, loop: Loop, seed: int
) -> None:
    given = wishes(20, seed)
    with torch.inference_mode():
        expected = [Plainly(network, sound_of(wish.sound)).search(wish.asked) for wish in given]
    assert len({len(one.tokens) for one in expected}) > 5
    for ours, theirs, wish in zip(written_by(loop, given), expected, given, strict=True):
        assert_alike(ours, theirs, wish)


@pytest.mark.parametrize("timed", [True, False])
def test_score_of_what_is_drawn_is_its_own_mean_log_probability(network: Network, loop: Loop, timed: bool) -> None:
    torch.manual_seed(5)
    prompt = START if timed else (*START, MARKS.timestamps - 1)
    given = [
        Wish(900 + n, Asked(prompt, 0, 5, temperature, timed, 12)) for n, temperature in enumerate((0.2, 0.8, 1.0))
    ]
    for ours, wish in zip(written_by(loop, given), given, strict=True):
        with torch.inference_mode():
            model = Plainly(network, sound_of(wish.sound))
            text = [*ours.tokens, MARKS.end] if len(ours.tokens) < wish.asked.limit else ours.tokens
            chances = [float(model.next(wish.asked, [text[:n]])[0, token]) for n, token in enumerate(text)]
            silence = model.no_speech(wish.asked)
        assert ours.tokens
        assert ours.score == pytest.approx(sum(chances) / len(ours.tokens), abs=1e-4)
        assert ours.no_speech == pytest.approx(silence, abs=1e-5)


def test_a_row_that_is_searched_is_not_disturbed_by_one_that_is_drawn(network: Network, loop: Loop) -> None:
    searched = Wish(40, Asked(START, 0, 5, 0.0, True, 24))
    drawn = Wish(41, replace(searched.asked, temperature=1.0))
    with torch.inference_mode():
        expected = Plainly(network, sound_of(40)).search(searched.asked)
    found = written_by(loop, [drawn, searched, drawn])
    assert_alike(found[1], expected, searched)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 9.0])
def test_draws_are_as_frequent_as_the_temperature_makes_them(network: Network, temperature: float) -> None:
    torch.manual_seed(11)
    asked = Asked((*START, MARKS.timestamps - 1), 0, 5, temperature, False, 40)
    count, sound = 64, sound_of(77)
    with torch.inference_mode():
        slots = slots_of(network, count, 5)
        for first in range(0, count, 8):
            slots.place(list(range(first, first + 8)), [sound] * 8, [asked] * 8)
        for _ in range(len(asked.prompt)):
            slots.step(count, 64, drawing=True)
        drawn = slots.token.flatten()
        chances = (Plainly(network, sound).next(asked, [[]])[0] / temperature).softmax(-1)
    likely = chances.argsort(descending=True)[:3]
    shares = torch.bincount(drawn[drawn != MARKS.end], minlength=IDS)[likely] / drawn.numel()
    spread = 4 * (chances[likely] * (1 - chances[likely]) / drawn.numel()).sqrt() + 1e-9
    assert ((shares - chances[likely]).abs() <= spread).all(), (shares, chances[likely])
    if chances.max() < 0.5:
        assert (slots.token != slots.token[:, :1]).any(), "every text of a window was drawn alike"


@pytest.mark.parametrize("beams", BEAMS)
def test_a_row_that_moves_takes_everything_along(network: Network, beams: int) -> None:
    asked = Asked((36, 4, 5, 6, *START), 4, beams, 0.0, True, 20)
    with torch.inference_mode():
        slots = slots_of(network, 6, beams)
        slots.place([1, 5], [sound_of(1), sound_of(2)], [asked, asked])
        for _ in range(9):
            slots.step(6, 64, drawing=False)
        slots.move([5], [0])
        for name, tensor in tensors_of(slots).items():
            assert torch.equal(tensor[0], tensor[5]) or name == "done", name
        assert bool(slots.done[5])
        for _ in range(30):
            slots.step(2, 64, drawing=False)
        expected = Plainly(network, sound_of(2)).search(asked)
    assert_alike(result_of(slots, 0), expected, Wish(2, asked))


def test_rows_that_move_together_are_written_on_where_they_went_and_nowhere_else(network: Network) -> None:
    asked = Asked(START, 0, 5, 0.0, True, 20)
    with torch.inference_mode():
        slots = slots_of(network, 8, 5)
        slots.place([3, 5, 6, 7], [sound_of(n) for n in range(4)], [asked] * 4)
        slots.step(8, 64, drawing=False)
        assert not slots.done[[3, 5, 6, 7]].any()
        slots.move([7, 6, 5], [0, 1, 2])
        assert slots.done.tolist() == [False] * 4 + [True] * 4
        for _ in range(30):
            slots.step(4, 64, drawing=False)
        for row, sound in enumerate([3, 2, 1, 0]):
            assert_alike(result_of(slots, row), Plainly(network, sound_of(sound)).search(asked), Wish(sound, asked))


def test_a_row_that_has_ended_keeps_its_text_while_others_are_written(network: Network) -> None:
    asked = Asked(START, 0, 5, 0.0, True, 60)
    rows = list(range(6))
    ended: dict[int, Written] = {}
    with torch.inference_mode():
        slots = slots_of(network, 6, 5)
        slots.place(rows, [sound_of(50 + row) for row in rows], [asked] * 6)
        for _ in range(64):
            slots.step(6, 128, drawing=False)
            for row in rows:
                if bool(slots.done[row]) and row not in ended:
                    ended[row] = result_of(slots, row)
        assert len(ended) == 6
        assert {row: result_of(slots, row) for row in ended} == ended


def result_of(slots: Slots, row: int) -> Written:
    return Steps(slots).read()(row)


def tensors_of(slots: Slots) -> dict[str, Tensor]:
    """Every tensor of *slots* that has a row for each of them."""
    found: dict[str, Any] = {}
    for name, value in vars(slots).items():
        if isinstance(value, Tensor) and value.shape[:1] == (slots.count,) and not name.startswith("_"):
            found[name] = value
        elif isinstance(value, list) and value and isinstance(value[0], Tensor):
            found |= {f"{name}[{number}]": tensor for number, tensor in enumerate(value)}
    return found
