"""What a device sends to the host, on a card that is made up: who waits how, and when its memory is let go."""

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from worker.engines.torch.device import host
from worker.engines.torch.device.host import sent


class Card:
    """Streams of which one is the current one, what was waited for, and the memory that isn't let go yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream = 1
        self.waited: list[str] = []
        self.places: list[weakref.ref[torch.Tensor]] = []
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=self.stream))
        monkeypatch.setattr(torch.cuda, "Event", self.event)
        monkeypatch.setattr(host, "place_for", self.place)
        host._left.clear()

    def event(self, *, blocking: bool) -> Any:
        how = "asleep" if blocking else "awake"
        return SimpleNamespace(record=lambda: None, synchronize=lambda: self.waited.append(how))

    def place(self, tensor: Any) -> torch.Tensor:
        made = torch.zeros(tensor.contiguous().shape)
        self.places.append(weakref.ref(made))
        return made

    def tensor(self, *values: float) -> Any:
        return SimpleNamespace(is_cuda=True, device="cuda:0", contiguous=lambda: torch.tensor(values))

    @property
    def held(self) -> list[bool]:
        return [place() is not None for place in self.places]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


def test_who_reads_waits_without_keeping_a_core_busy_and_gets_copies(card: Card) -> None:
    read = sent(card.tensor(1, 2, 3), card.tensor(4, 5, 6))
    assert not card.waited
    whole, third = read(), read(2)
    assert [each.tolist() for each in whole] == [[1, 2, 3], [4, 5, 6]]
    assert [each.tolist() for each in third] == [3, 6]
    assert card.waited == ["asleep"] * 2
    place = card.places[0]()
    assert place is not None
    place.fill_(9)
    assert [each.tolist() for each in (*whole, *third)] == [[1, 2, 3], [4, 5, 6], 3, 6]


def test_memory_is_let_go_when_the_next_is_sent_and_nobody_can_read_it_any_more(card: Card) -> None:
    first, second = sent(card.tensor(1)), sent(card.tensor(2))
    del first
    assert card.held == [True, True], "it may be anybody's thread"
    third = sent(card.tensor(3))
    assert card.held == [False, True, True]
    assert [read()[0].tolist() for read in (second, third)] == [[2], [3]]


def test_memory_that_one_stream_wrote_is_not_let_go_while_another_sends(card: Card) -> None:
    read = sent(card.tensor(1))
    del read
    card.stream = 2
    other = sent(card.tensor(2))
    assert card.held == [True, True], "the first one may be captured at this moment"
    card.stream = 1
    sent(card.tensor(3))
    assert card.held[:2] == [False, True]
    assert other()[0].tolist() == [2]
