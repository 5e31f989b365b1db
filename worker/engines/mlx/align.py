"""When each word was said: the decoder's attention to the sound, as a path through tokens and time."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from worker.engines.alignment import Alignment, cost_of, path_through
from worker.engines.marks import Marks


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
        found.append(Alignment(path_through(cost_of(weights)[len(start) : ends]), np.array(picked).tolist()))
    return found
