"""
The search of the torch engine against one that is written down plainly: no caches, no slots, one window at a time.

The network is tiny and has learnt nothing, so that a text is as surprising as it can be; it takes a moment.
"""

import math
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.platform import eventually
from tests.tiny_network import HEADS, IDS, MARKS, WIDTH, tiny_network
from transcription.errors import Stopped
from worker.engines.torch.attention import Attention, plain
from worker.engines.torch.layout import slot_bytes, slots_now
from worker.engines.torch.loop import BEAMS, Loop
from worker.engines.torch.network import Network
from worker.engines.torch.rules import Rules
from worker.engines.torch.slots import Asked, Slots, Written

NOT_FIRST, NEVER = (3, 30), (7, 31, 32, 33, 34, 35, 36, 37)
START = (31, 32, 34)
"""The tokens that a transcript begins with: its mark, a language, a task."""


@pytest.fixture(scope="module")
def network() -> Network:
    return replace(tiny_network(), suppressed_first=NOT_FIRST)


def slots_of(network: Network, count: int, beams: int) -> Slots:
    rules = Rules(MARKS, NEVER, NOT_FIRST, "cpu")
    return Slots(network, MARKS, rules, Attention(plain, plain), count=count, beams=beams)


@pytest.fixture(scope="module")
def loop(network: Network) -> Iterator[Loop]:
    """Few slots for many rows, so that slots are used again and rows move."""
    running = Loop(
        lambda beams: slots_of(network, 5, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=8
    )
    yield running
    running.close()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The tensors are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Plainly:
    """What Whisper's decoder says, computed anew for every text, and a search over it."""

    def __init__(self, network: Network, sound: Tensor) -> None:
        self._decoder = network.decoder
        self._heard = [one.cross.keys_values(sound, HEADS) for one in network.decoder.layers if one.cross]

    def logits(self, texts: list[list[int]]) -> Tensor:
        """Of each place in *texts*, which are of one length: what may come next, shape (texts, tokens, ids)."""
        decoder, count = self._decoder, len(texts)
        x = decoder.embed(torch.tensor(texts), torch.arange(len(texts[0])))
        for one, (keys, values) in zip(decoder.layers, self._heard, strict=True):
            query, key, value = (part.transpose(1, 2) for part in one.split(x, HEADS))
            found = scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + one.out(found.transpose(1, 2).flatten(2))
            heard = keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)
            x = one.feed(decoder.listen(one, x, *heard, scaled_dot_product_attention))
        return decoder.logits(x)

    def no_speech(self, asked: Asked) -> float:
        """The chance that nobody speaks, told at the start mark."""
        return float(self.logits([[*asked.prompt]])[0, asked.start].softmax(-1)[MARKS.no_speech])

    def next(self, asked: Asked, written: list[list[int]]) -> Tensor:
        """Logarithms of the probabilities of what may follow each of *written*, shape (texts, ids)."""
        logits = self.logits([[*asked.prompt, *text] for text in written])[:, -1].clone()
        times = [[token for token in text if token >= MARKS.timestamps] for text in written]
        Rules(MARKS, NEVER, NOT_FIRST, "cpu").apply(
            logits,
            first=torch.tensor([not text for text in written]),
            timed=torch.tensor([asked.timed] * len(written)),
            last=torch.tensor([text[-1:] >= [MARKS.timestamps] for text in written]),
            before=torch.tensor([len(text) < 2 or text[-2] >= MARKS.timestamps for text in written]),
            latest=torch.tensor([found[-1] if found else 0 for found in times]),
        )
        return logits.log_softmax(-1)

    def search(self, asked: Asked) -> Written:
        """The best of as many texts as there are beams; a beam's place that ended goes to the next best."""
        beams: list[tuple[float, list[int]]] = [(0.0, [])]
        ended: list[tuple[float, list[int]]] = []
        for number in range(asked.limit):
            chances = self.next(asked, [text for _, text in beams])
            totals, where = (torch.tensor([[score] for score, _ in beams]) + chances).flatten().topk(2 * asked.width)
            options = [
                (total, [*beams[index // IDS][1], index % IDS])
                for total, index in zip(totals.tolist(), where.tolist(), strict=True)
                if total > -math.inf
            ]
            last = number + 1 == asked.limit
            for score, text in options[: asked.width]:
                said = text[:-1] if text[-1] == MARKS.end else text
                if (text[-1] == MARKS.end or last) and said:
                    ended.append((score / len(said), said))
                elif text[-1] == MARKS.end:
                    ended.append((-math.inf, []))
            if len(ended) >= asked.width or last:
                break
            beams = [pair for pair in options if pair[1][-1] != MARKS.end][: asked.width]
        best = max(ended, key=lambda pair: pair[0])
        return Written(best[1], best[0], self.no_speech(asked))


def sound_of(seed: int) -> Tensor:
    return torch.randn(1, 1500, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2


@dataclass(frozen=True)
class Wish:
    sound: int
    asked: Asked


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


def written_by(loop: Loop, given: list[Wish]) -> list[Written]:
    futures = loop.write([sound_of(wish.sound) for wish in given], [wish.asked for wish in given])
    return [future.result(60)() for future in futures]


def assert_alike(ours: Written, theirs: Written, wish: Wish) -> None:
    assert ours.tokens == theirs.tokens, wish
    assert ours.score == pytest.approx(theirs.score, abs=1e-4), wish
    assert ours.no_speech == pytest.approx(theirs.no_speech, abs=1e-5), wish


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
        slots.move(5, 0)
        for name, tensor in tensors_of(slots).items():
            assert torch.equal(tensor[0], tensor[5]) or name == "done", name
        assert bool(slots.done[5])
        for _ in range(30):
            slots.step(2, 64, drawing=False)
        tokens, figures = slots.results(torch.tensor([0]))
        expected = Plainly(network, sound_of(2)).search(asked)
    ours = Written(tokens[0, 1 : 1 + int(tokens[0, 0])].tolist(), *figures[0].tolist())
    assert_alike(ours, expected, Wish(2, asked))


def test_a_row_that_has_ended_keeps_its_text_while_others_are_written(network: Network) -> None:
    asked = Asked(START, 0, 5, 0.0, True, 60)
    rows = list(range(6))
    ended: dict[int, list[float]] = {}
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


def result_of(slots: Slots, row: int) -> list[float]:
    tokens, figures = slots.results(torch.tensor([row]))
    return [*tokens[0, : 1 + int(tokens[0, 0])].tolist(), *figures[0].tolist()]


def tensors_of(slots: Slots) -> dict[str, Tensor]:
    """Every tensor of *slots* that has a row for each of them."""
    found: dict[str, Any] = {}
    for name, value in vars(slots).items():
        if isinstance(value, Tensor) and value.shape[:1] == (slots.count,) and not name.startswith("_"):
            found[name] = value
        elif isinstance(value, list) and value and isinstance(value[0], Tensor):
            found |= {f"{name}[{number}]": tensor for number, tensor in enumerate(value)}
    return found


def test_an_error_of_the_device_reaches_every_row_and_the_next_ones_are_written(network: Network) -> None:
    broken = [True]

    def made(beams: int) -> Slots:
        slots = slots_of(network, 4, beams)
        if broken.pop() if broken else False:
            slots.step = lambda *_, **__: (_ for _ in ()).throw(RuntimeError("CUDA error"))  # type: ignore[method-assign]
        return slots

    loop = Loop(made, lambda sounds: sounds, stream=torch.inference_mode, crowd=8)
    try:
        given = [Wish(n, Asked(START, 0, 5, 0.0, True, 9)) for n in range(3)]
        futures = loop.write([sound_of(wish.sound) for wish in given], [wish.asked for wish in given])
        assert [type(future.exception(20)) for future in futures] == [RuntimeError] * 3
        with torch.inference_mode():
            expected = Plainly(network, sound_of(0)).search(given[0].asked)
        assert_alike(written_by(loop, given[:1])[0], expected, given[0])
    finally:
        loop.close()


def test_slots_for_which_there_is_no_memory_take_the_place_of_idle_ones(network: Network) -> None:
    live: list[int] = []

    def made(beams: int) -> Slots:
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


ASKED = Asked(START, 0, 5, 0.0, True, 9)


def test_who_waits_when_an_engine_is_closed_is_told_and_who_comes_later_too(network: Network) -> None:
    """Rows in slots and rows that wait for one, windows to be encoded, calls."""
    held = threading.Event()
    loop = Loop(lambda beams: slots_of(network, 2, beams), lambda sounds: sounds, stream=torch.inference_mode, crowd=1)
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

    loop = Loop(lambda beams: slots_of(network, 2, beams), encode, stream=torch.inference_mode, crowd=8)
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


def test_rows_for_which_there_is_no_memory_at_all_fail_and_rows_that_were_given_up_harm_nobody(
    network: Network,
) -> None:
    full = [True, True]

    def made(beams: int) -> Slots:
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
