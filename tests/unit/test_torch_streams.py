"""A thread's stream is nobody else's, though torch gives out the same few again and again."""

import itertools
from contextlib import nullcontext

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from worker.engines.torch.device import streams
from worker.engines.torch.device.streams import own_stream

CARD = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _as_torch_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 32nd stream is the same one again."""
    numbers = itertools.cycle(range(32))
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: next(numbers))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    streams._free.clear()


def test_a_stream_in_use_is_given_to_nobody_else_however_many_are_asked_for() -> None:
    with own_stream(CARD) as held:
        others = []
        for _ in range(100):
            with own_stream(CARD) as other:
                others.append(other)
    assert held not in others


def test_those_in_use_at_once_differ_also_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="in its work"), own_stream(CARD), own_stream(CARD):
        raise RuntimeError("in its work")
    with own_stream(CARD) as one, own_stream(CARD) as another, own_stream(CARD) as third:
        assert len({one, another, third}) == 3


def test_each_card_has_its_own() -> None:
    with own_stream(CARD):
        pass
    with own_stream(torch.device("cuda", 1)) as there, own_stream(CARD) as here:
        assert here != there


def test_a_cpu_has_none() -> None:
    with own_stream(torch.device("cpu")) as stream:
        assert stream is None
