"""What training minimises: the next token, and help for the encoder and for the attention between the two."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demo.training.batch import Batch, Spans
from demo.training.model import Whisper

GUIDANCE_WEIGHT = 0.3
FLOOR_WEIGHT = 0.02
"""A frame that no head attends to at all becomes 0/0 when float16 engines align words."""
FOLLOWING_HEADS = 2
"""Heads of the first decoder layer that look at the word just read."""


@dataclass(frozen=True)
class Losses:
    """`total` to go back from; the parts and the share of text tokens that are right, for the log."""

    total: Tensor
    token: float
    guidance: float
    word: float
    phoneme: float
    accuracy: float


def measure(model: Whisper, batch: Batch, frame_weight: float) -> Losses:
    """Run *model* on *batch*; *frame_weight* is the weight of the word and phoneme of each frame."""
    with torch.autocast("cpu", torch.bfloat16):
        phoneme_logits: list[Tensor] = []
        audio = model.encode(batch.mel, batch.offset, phoneme_logits)
        logits, attention = model.decode(batch.inputs, audio)
        word_logits = model.word_head(audio)
    token_losses = functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none").view_as(
        batch.weights
    )
    token = (token_losses * batch.weights).sum() / batch.weights.sum()
    guidance = _distance_from(batch.next_spans, attention[-1])
    guidance = guidance + _distance_from(batch.previous_spans, attention[0][:, :FOLLOWING_HEADS])
    floor = torch.stack([-weights.clamp(min=1e-8).log().mean() for weights in attention]).sum()
    word = _frame_loss(word_logits, batch.words)
    phoneme = torch.stack([_frame_loss(logits, batch.phonemes) for logits in phoneme_logits]).mean()
    total = token + GUIDANCE_WEIGHT * guidance + FLOOR_WEIGHT * floor + frame_weight * (word + phoneme)
    text = batch.weights * (batch.labels < model.unused_row)
    right = (logits.argmax(-1) == batch.labels) * text
    return Losses(
        total=total,
        token=token.item(),
        guidance=guidance.item(),
        word=word.item(),
        phoneme=phoneme.item(),
        accuracy=(right.sum() / text.sum().clamp(min=1)).item(),
    )


def _frame_loss(logits: Tensor, classes: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float().flatten(0, 1), classes.flatten())


def _distance_from(spans: Spans, attention: Tensor) -> Tensor:
    """Minus the log of the attention, (batch, heads, n, positions), that falls into *spans*."""
    heads = attention.shape[1]
    cumulated = functional.pad(attention.cumsum(-1), (1, 0))
    first, last = (edge[:, None, :, None].expand(-1, heads, -1, 1) for edge in (spans.first, spans.last))
    mass = (cumulated.gather(-1, last) - cumulated.gather(-1, first)).squeeze(-1)
    present = (spans.last > spans.first).float()[:, None].expand_as(mass)
    return -(mass.clamp(min=1e-5).log() * present).sum() / present.sum().clamp(min=1)
