"""When each word was said: the decoder's attention to the sound, as a path through tokens and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from worker.engines.mlx.search import Marks
from worker.engines.row import Floats

MEDIAN_WIDTH = 7


@dataclass(frozen=True, slots=True)
class Alignment:
    """A path of (token, time step of 20 ms), and each token's probability; named as in CTranslate2."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


def align(
    network: Any,
    marks: Marks,
    sound: mx.array,
    start: Sequence[int],
    *,
    texts: Sequence[list[int]],
    frames: Sequence[int],
) -> list[Alignment]:
    """
    Find when the tokens of some windows were said; call it on MLX's thread.

    Args:
        network: mlx-whisper's; its `alignment_heads` are the pairs of layer and head to look at.
        marks: The vocabulary.
        sound: What the encoder made of the windows, shape (rows, 1500, width).
        start: The tokens that every transcript begins with.
        texts: Each row's tokens, without times.
        frames: Each row's length in frames of 10 ms.
    """
    longest = max(map(len, texts))
    rows = [[*start, marks.timestamps - 1, *text, *[marks.end] * (longest - len(text) + 1)] for text in texts]
    logits, _, attention = network.decoder(mx.array(rows), sound)
    chances = mx.softmax(logits[:, len(start) : -1, : marks.end].astype(mx.float32), axis=-1)
    heads = mx.stack([attention[layer][:, head] for layer, head in network.alignment_heads.tolist()], axis=1)
    heads = heads.astype(mx.float32)
    found = []
    for row, (text, length) in enumerate(zip(texts, frames, strict=True)):
        ends = len(start) + 1 + len(text)
        weights = np.array(mx.softmax(heads[row, :, : ends + 1, : length // 2], axis=-1))
        picked = mx.take_along_axis(chances[row, : len(text)], mx.array(text)[:, None], axis=-1)[:, 0]
        found.append(Alignment(_path(_cost(weights)[len(start) : ends]), np.array(picked).tolist()))
    return found


def _cost(weights: Floats) -> Floats:
    """Attention of shape (heads, tokens, steps) as the cost of saying a token at a step."""
    deviation = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.where(deviation == 0, 1, deviation)
    margin = MEDIAN_WIDTH // 2
    if weights.shape[-1] > margin:
        padded = np.pad(weights, ((0, 0), (0, 0), (margin, margin)), mode="reflect")
        weights = np.median(sliding_window_view(padded, MEDIAN_WIDTH, axis=-1), axis=-1)
    cost: Floats = -weights.mean(axis=0)
    return cost


def _path(cost: Floats) -> list[tuple[int, int]]:
    """
    The cheapest way through *cost*, shape (tokens, steps), from corner to corner: dynamic time warping.

    Cells on one anti-diagonal don't depend on each other, so that numpy computes each at once: a window takes some
    20 ms, and no compiler has to be installed for it.
    """
    height, width = cost.shape
    total = np.full((height + 1, width + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(2, height + width + 1):
        i = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        j = diagonal - i
        cheapest = np.minimum(np.minimum(total[i - 1, j - 1], total[i - 1, j]), total[i, j - 1])
        total[i, j] = cost[i - 1, j - 1] + cheapest
    path = []
    i_, j_ = height, width
    while i_ and j_:
        path.append((i_ - 1, j_ - 1))
        before = {(i_ - 1, j_ - 1): 0, (i_ - 1, j_): 1, (i_, j_ - 1): 2}
        i_, j_ = min(before, key=lambda cell: (total[cell], -before[cell]))
    return path[::-1]
