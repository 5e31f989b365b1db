"""The attention that words are timed by, of several windows at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.engines.alignment import MEDIAN_WIDTH, Alignment, path_through
from worker.engines.marks import Marks
from worker.engines.torch.device.captured import Captured, fitting, pinned
from worker.engines.torch.device.network import TEXT_POSITIONS, Network
from worker.engines.torch.device.sdpa import attend

ROWS = (1, 2, 4, 8)
EXCHANGES = (
    (0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4),
)  # fmt: skip
"""Of seven numbers: put each pair in order, and the median is in the middle. A GPU sorts millions of sevens slowly."""

LENGTHS = (32, 48, 64, 96, 128, 256, TEXT_POSITIONS)


class Attention:
    """Reads texts that are known, and looks where in the sound each of their tokens is."""

    def __init__(self, network: Network, marks: Marks) -> None:
        """Look through *network*."""
        self._network, self._marks = network, marks
        self._captured = Captured(self._attend, network.device)

    def __call__(
        self,
        sounds: Sequence[Tensor],
        starts: Sequence[Sequence[int]],
        *,
        texts: Sequence[Sequence[int]],
        frames: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """
        Attend; call it on the device's thread.

        Args:
            sounds: What the encoder made of the windows, shape (1, 1500, width) each.
            starts: The tokens that each transcript begins with, of one length.
            texts: Each row's tokens, without times.
            frames: Each row's length in frames of 10 ms.

        Returns:
            The cost of saying a token at a step, shape (rows, tokens, 1500), from the first start token on, and each
            token's probability, shape (rows, tokens). What is beyond a row's own tokens and steps means nothing.
        """
        begun, missing = len(starts[0]), fitting(ROWS, len(texts)) - len(texts)
        longest = fitting(LENGTHS, begun + 2 + max(map(len, texts)))
        padded = [
            [*start, self._marks.timestamps - 1, *text, *[self._marks.end] * (longest - begun - 1 - len(text))]
            for start, text in zip(starts, texts, strict=True)
        ]
        bounds = [[begun + 2 + len(text), length // 2] for text, length in zip(texts, frames, strict=True)]
        device = self._network.device
        costs, chances = self._captured(
            torch.cat([*sounds, *[sounds[-1]] * missing]),
            pinned([*padded, *[padded[-1]] * missing], torch.int64, device=device),
            pinned([*bounds, *[bounds[-1]] * missing], torch.int64, device=device),
        )
        # The window's end hears nothing that anybody asks for.
        return costs[: len(texts), :, : max(frames) // 2], chances[: len(texts)]

    def _attend(self, sound: Tensor, tokens: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
        network, decoder = self._network, self._network.decoder
        x = decoder.embed(tokens, torch.arange(tokens.shape[1], device=tokens.device))
        weights: list[Tensor] = []
        for number, layer in enumerate(decoder.layers):
            query, key, value = (part.transpose(1, 2) for part in layer.split(x, decoder.heads))
            found = attend(query, key, value, causal=True)
            x = x + layer.out(found.transpose(1, 2).flatten(2))
            assert layer.cross is not None  # noqa: S101
            keys, values = layer.cross.keys_values(sound, decoder.heads)
            query = layer.cross.query(layer.cross.norm(x)).unflatten(-1, (decoder.heads, -1)).transpose(1, 2)
            for index, head in network.alignment_heads:
                if index == number:
                    scores = query[:, head] @ keys[:, head].transpose(1, 2) * query.shape[-1] ** -0.5
                    weights.append(scores.float())
            x = decoder.listen(layer, x, keys, values, attend)
            x = layer.feed(x)
        logits = decoder.logits(x[:, :-1])[:, :, : self._marks.end]
        following = tokens[:, 1:, None].clamp(max=self._marks.end - 1)
        chances = (logits.gather(-1, following)[:, :, 0] - logits.logsumexp(-1)).exp()
        return _costs(torch.stack(weights, 1), bounds[:, 1], bounds[:, 0]), chances


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
    near = list(padded.unfold(-1, MEDIAN_WIDTH, 1).unbind(-1))
    for low, high in EXCHANGES:
        near[low], near[high] = torch.minimum(near[low], near[high]), torch.maximum(near[low], near[high])
    smoothed = near[margin]
    # Too short to be mirrored.
    return torch.where((lengths > margin)[:, None, None, None], smoothed, weights)


def aligned(
    costs: Tensor, chances: Tensor, texts: Sequence[Sequence[int]], frames: Sequence[int], *, begun: int
) -> list[Alignment]:
    """The paths through *costs*, after *begun* start tokens; on the host, in the thread of whoever asked."""
    found = []
    for row, (text, length) in enumerate(zip(texts, frames, strict=True)):
        cost = costs[row, begun : begun + len(text) + 1, : length // 2].numpy()
        found.append(Alignment(path_through(cost), chances[row, begun : begun + len(text)].tolist()))
    return found
