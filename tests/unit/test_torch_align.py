"""What words are timed by, in the torch engine, against the alignment that all engines share."""

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch

from tests.tiny_network import MARKS, WIDTH, tiny_network
from worker.engines.alignment import cost_of
from worker.engines.torch.device import align

START = [31, 32, 34]


def test_costs_of_rows_together_are_those_of_each_row_s_own_tokens_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    costs = align._costs

    def watched(scores: torch.Tensor, *bounds: Any) -> torch.Tensor:
        seen.append(scores)
        return costs(scores, *bounds)

    monkeypatch.setattr(align, "_costs", watched)
    dice = torch.Generator().manual_seed(1)
    sounds = [torch.randn(1, 1500, WIDTH, generator=dice) for _ in range(3)]
    texts, frames = [[40, 41, 42], [50] * 9, [60]], [300, 1000, 8]
    attention = align.Attention(replace(tiny_network(), alignment_heads=((0, 1), (1, 0), (1, 1))), MARKS)
    with torch.inference_mode():
        found, _ = attention(sounds, [START] * 3, texts=texts, frames=frames)
    (scores,) = seen
    assert len(scores) >= len(texts) == 3
    for row, (text, length) in enumerate(zip(texts, frames, strict=True)):
        tokens, steps = len(START) + 2 + len(text), length // 2
        expected = cost_of(scores[row, :, :tokens, :steps].softmax(-1).numpy())
        assert found[row, :tokens, :steps].numpy() == pytest.approx(expected, abs=1e-4)
