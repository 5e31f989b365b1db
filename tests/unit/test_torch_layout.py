"""How many windows the torch engine works on at a time, by what is free on a GPU and what is asked for."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from transcription.settings import Worker
from worker.engines.torch.device.layout import TorchLayout, encoding_bytes, layout, slots_now


def large(device: str) -> Any:
    """Of large's network what a layout looks at: a slot of it takes 0.57 GiB."""
    return SimpleNamespace(
        device=SimpleNamespace(type=device),
        dtype=torch.float16,
        width=1280,
        decoder=SimpleNamespace(layers=range(32)),
    )


def laid_out(monkeypatch: pytest.MonkeyPatch, free_gib: float, *, spans: int = 0, **worker: int) -> TorchLayout:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free_gib * 2**30), 140 << 30))
    return layout(Worker(**worker), large("cuda"), spans=spans)


@pytest.mark.parametrize(
    ("free_gib", "slots", "batch", "callers"),
    [
        (137, 64, 8, 17),  # no more than are useful
        (20, 21, 8, 7),  # six tenths of it: the rest is for what lies between
        (6, 6, 6, 3),
        (1, 4, 4, 3),  # few at least
    ],
)
def test_slots_fill_a_share_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, slots: int, batch: int, callers: int
) -> None:
    assert laid_out(monkeypatch, free_gib) == TorchLayout(slots, batch, callers)


@pytest.mark.parametrize(("spans", "slots"), [(0, 21), (128, 20), (1280, 16), (12_800, 4)])
def test_what_languages_were_told_from_is_left_its_place(
    monkeypatch: pytest.MonkeyPatch, spans: int, slots: int
) -> None:
    """3.8 MB each of large in float16, so 0.5 GB for the 128 spans that a worker holds."""
    assert encoding_bytes(large("cuda")) == 1500 * 1280 * 2
    assert laid_out(monkeypatch, 20, spans=spans).slots == slots


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert laid_out(monkeypatch, 137, batch=96) == TorchLayout(96, 8, 25)
    assert laid_out(monkeypatch, 1, batch=2) == TorchLayout(2, 2, 3)
    assert laid_out(monkeypatch, 137, model_workers=3) == TorchLayout(64, 8, 3)


def test_a_cpu_takes_few_slots_or_those_asked_for() -> None:
    assert layout(Worker(), large("cpu"), spans=32) == TorchLayout(4, 4, 3)
    assert layout(Worker(batch=1), large("cpu"), spans=32) == TorchLayout(1, 1, 3)
    assert slots_now(large("cpu"), 10, 3) == 3


def test_what_torch_has_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 << 30, 140 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 40 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 38 << 30)
    assert slots_now(large("cuda"), 5, 64) == 5
