"""Windows of one length as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demo.training.model import Whisper
from demo.training.window import Span, Window
from demo.vocabulary import END_OF_TEXT

STEP = 8
"""Sequences are padded to a multiple of it."""


@dataclass(frozen=True)
class Spans:
    """For each decoder step the encoder positions to look at, from `first` up to before `last`; equal for none."""

    first: Tensor
    last: Tensor


@dataclass(frozen=True)
class Batch:
    """`mel` (batch, frames, 80); what belongs to decoder steps (batch, n), to encoder positions (batch, frames / 2)."""

    mel: Tensor
    offset: Tensor
    inputs: Tensor
    labels: Tensor
    weights: Tensor
    next_spans: Spans
    previous_spans: Spans
    words: Tensor
    phonemes: Tensor


def collate(windows: Sequence[Window], model: Whisper) -> Batch:
    """Put *windows*, all of the same number of frames, together; token ids become *model*'s rows."""
    steps = -(-max(len(window.inputs) for window in windows) // STEP) * STEP
    positions = len(windows[0].mel) // 2
    end = model.row(END_OF_TEXT)
    inputs = torch.full((len(windows), steps), end)
    labels = torch.full((len(windows), steps), end)
    weights = torch.zeros((len(windows), steps))
    for index, window in enumerate(windows):
        count = len(window.inputs)
        inputs[index, :count] = torch.tensor([model.row(token) for token in window.inputs])
        labels[index, :count] = torch.tensor([model.row(token) for token in window.labels])
        weights[index, :count] = torch.tensor(window.weights, dtype=torch.float)
    return Batch(
        mel=torch.from_numpy(np.stack([window.mel for window in windows])),
        offset=torch.tensor([window.offset for window in windows]),
        inputs=inputs,
        labels=labels,
        weights=weights,
        next_spans=_spans([window.next_spans for window in windows], steps, positions),
        previous_spans=_spans([window.previous_spans for window in windows], steps, positions),
        words=torch.from_numpy(np.stack([window.words for window in windows])),
        phonemes=torch.from_numpy(np.stack([window.phonemes for window in windows])),
    )


def _spans(rows: Sequence[Sequence[Span]], steps: int, positions: int) -> Spans:
    first = torch.zeros((len(rows), steps), dtype=torch.long)
    last = torch.zeros((len(rows), steps), dtype=torch.long)
    for row, spans in enumerate(rows):
        for step, span in enumerate(spans):
            if span is not None:
                begin, stop = max(span[0], 0), min(span[1], positions)
                if stop > begin:
                    first[row, step], last[row, step] = begin, stop
    return Spans(first, last)
