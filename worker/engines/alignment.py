"""When each token was said: the decoder's attention to the sound as a path through tokens and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.lib.stride_tricks import sliding_window_view

from worker.engines.row import Floats

MEDIAN_WIDTH = 7
STEPS_PER_SECOND = 50


@dataclass(frozen=True, slots=True)
class Alignment:
    """A path of (token, time step of 20 ms), and each token's probability; named as in CTranslate2."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


def cost_of(weights: Floats) -> Floats:
    """Attention of shape (heads, tokens, steps) as the cost of saying a token at a step."""
    deviation = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.where(deviation == 0, 1, deviation)
    margin = MEDIAN_WIDTH // 2
    if weights.shape[-1] > margin:
        padded = np.pad(weights, ((0, 0), (0, 0), (margin, margin)), mode="reflect")
        weights = np.median(sliding_window_view(padded, MEDIAN_WIDTH, axis=-1), axis=-1)
    cost: Floats = -weights.mean(axis=0)
    return cost


def path_through(cost: Floats) -> list[tuple[int, int]]:
    """
    The cheapest way through *cost*, shape (tokens, steps), from corner to corner: dynamic time warping.

    Within a row a cell depends on the one before it by a sum, so that a running sum and a running minimum make a row
    at once: a window takes a millisecond or two, and no compiler has to be installed for it.
    """
    height, width = cost.shape
    total = np.full((height + 1, width + 1), np.inf)
    total[0, 0] = 0
    for row in range(height):
        sums = np.cumsum(cost[row], dtype=np.float64)
        entered = np.minimum(total[row, :-1], total[row, 1:])
        total[row + 1, 1:] = sums + np.minimum.accumulate(entered - np.concatenate([[0.0], sums[:-1]]))
    path = []
    i, j = height, width
    while i and j:
        path.append((i - 1, j - 1))
        both, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if left <= both and left <= up:
            j -= 1
        elif up <= both:
            i -= 1
        else:
            i, j = i - 1, j - 1
    return path[::-1]


def words_of(alignment: Any, tokens: Sequence[int], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """
    The words that *tokens* spell, as faster-whisper's `find_alignment` tells them: with their tokens, times in seconds
    from the window's start, and probabilities.

    Args:
        alignment: An `Alignment`, or CTranslate2's.
        tokens: The text's, without times.
    """
    words, groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    begins: list[float] = []
    latest = None
    for token, step in alignment.alignments:
        if token != latest:
            begins.append(step / STEPS_PER_SECOND)
            latest = token
    found = []
    first = 0
    for word, group in zip(words[:-1], groups[:-1], strict=True):
        end = first + len(group)
        chances = alignment.text_token_probs[first:end]
        found.append(
            {
                "word": word,
                "tokens": group,
                "start": begins[first],
                "end": begins[end],
                "probability": sum(chances) / len(chances),
            }
        )
        first = end
    return found
