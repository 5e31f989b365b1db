"""The attention that words are timed by, of several windows at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worker.engines.alignment import MEDIAN_WIDTH, Alignment, path_through
from worker.engines.torch.network import Network
from worker.engines.torch.rules import Marks


def attend(
    network: Network,
    marks: Marks,
    sound: Tensor,
    starts: Sequence[Sequence[int]],
    *,
    texts: Sequence[Sequence[int]],
    frames: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """
    Read texts that are known, and look where in the sound each of their tokens is.

    Args:
        sound: What the encoder made of the windows, shape (rows, 1500, width).
        starts: The tokens that each transcript begins with, of one length.
        texts: Each row's tokens, without times.
        frames: Each row's length in frames of 10 ms.

    Returns:
        The cost of saying a token at a step, shape (rows, tokens + 1, 1500), and each token's probability, shape
        (rows, tokens). What is beyond a row's own tokens and steps means nothing.
    """
    longest, begun = max(map(len, texts)), len(starts[0])
    padded = [
        [*start, marks.timestamps - 1, *text, *[marks.end] * (longest - len(text) + 1)]
        for start, text in zip(starts, texts, strict=True)
    ]
    tokens = torch.tensor(padded).to(sound.device, non_blocking=True)
    lengths = torch.tensor([length // 2 for length in frames]).to(sound.device, non_blocking=True)
    decoder = network.decoder
    x = decoder.embed(tokens, torch.arange(tokens.shape[1], device=tokens.device))
    weights: list[Tensor] = []
    for number, layer in enumerate(decoder.layers):
        query, key, value = (part.transpose(1, 2) for part in layer.split(x, decoder.heads))
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + layer.out(found.transpose(1, 2).flatten(2))
        assert layer.cross is not None  # noqa: S101
        keys, values = layer.cross.keys_values(sound, decoder.heads)
        heads = [head for index, head in network.alignment_heads if index == number]
        if heads:
            query = layer.cross.query(layer.cross.norm(x)).unflatten(-1, (decoder.heads, -1)).transpose(1, 2)
            scores = query[:, heads] @ keys[:, heads].transpose(2, 3) * query.shape[-1] ** -0.5
            weights.append(scores.float())
        x = decoder.listen(layer, x, keys, values, scaled_dot_product_attention)
        x = layer.feed(x)
    text = x[:, begun : begun + longest]
    chances = decoder.logits(text)[:, :, : marks.end].softmax(-1)
    picked = chances.gather(-1, tokens[:, begun + 1 : begun + 1 + longest, None].clamp(max=marks.end - 1))[:, :, 0]
    ends = torch.tensor([begun + 1 + len(row) + 1 for row in texts]).to(sound.device, non_blocking=True)
    return _costs(torch.cat(weights, 1), lengths, ends)[:, begun : begun + longest + 1], picked


def _costs(scores: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
    """
    Scores of (rows, heads, tokens, steps) to the mean of what the heads say, (rows, tokens, steps), as a cost.

    Each row is normalised over its own *ends* tokens and *lengths* steps.
    """
    steps, tokens = (
        torch.arange(scores.shape[-1], device=scores.device),
        torch.arange(scores.shape[2], device=scores.device),
    )
    heard = (steps < lengths[:, None])[:, None, None]
    weights = torch.nan_to_num(scores.masked_fill(~heard, -torch.inf).softmax(-1))
    said = (tokens < ends[:, None])[:, None, :, None]
    count = ends[:, None, None, None]
    mean = weights.masked_fill(~said, 0.0).sum(2, keepdim=True) / count
    deviation = (((weights - mean) ** 2).masked_fill(~said, 0.0).sum(2, keepdim=True) / count).sqrt()
    weights = (weights - mean) / torch.where(deviation == 0, 1.0, deviation)
    return -_median(weights, lengths).mean(1)


def _median(weights: Tensor, lengths: Tensor) -> Tensor:
    """Each step's median with its neighbours; at both ends the row is mirrored."""
    margin = MEDIAN_WIDTH // 2
    steps = torch.arange(-margin, weights.shape[-1] + margin, device=weights.device)
    last = (lengths[:, None] - 1).clamp(min=0)
    mirrored = torch.where(steps > last, 2 * last - steps, steps.abs()).clamp(0, weights.shape[-1] - 1)
    padded = weights.gather(-1, mirrored[:, None, None].expand(*weights.shape[:3], -1))
    smoothed = padded.unfold(-1, MEDIAN_WIDTH, 1).median(-1).values
    # Too short to be mirrored.
    return torch.where((lengths > margin)[:, None, None, None], smoothed, weights)


def aligned(costs: Tensor, chances: Tensor, texts: Sequence[Sequence[int]], frames: Sequence[int]) -> list[Alignment]:
    """The paths through *costs*; on the host, in the thread of whoever asked."""
    found = []
    for row, (text, length) in enumerate(zip(texts, frames, strict=True)):
        cost = costs[row, : len(text) + 1, : length // 2].numpy()
        found.append(Alignment(path_through(cost), chances[row, : len(text)].tolist()))
    return found
