"""Whisper's layers as plain functions of tensors: what is learnt comes in, nothing is kept."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from worker.engines.torch.device.sdpa import attend

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values, shape (rows, heads, n, width of a head), to what is found, shaped as the queries."""

AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix (out, in) and what is added to its product."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply the last dimension."""
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Cross:
    """A decoder layer's look at the sound."""

    norm: Norm
    query: Linear
    key_value: Linear
    out: Linear

    def keys_values(self, sound: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Of the encoder's output, shape (rows, 1500, width), keys and values of (rows, heads, 1500, head)."""
        rows, steps, width = sound.shape
        both = self.key_value(sound).view(rows, steps, 2, heads, width // heads).permute(2, 0, 3, 1, 4)
        return both[0], both[1]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the encoder, or with ``cross`` of the decoder."""

    norm: Norm
    query_key_value: Linear
    out: Linear
    cross: Cross | None
    feed_norm: Norm
    feed_in: Linear
    feed_out: Linear

    def split(self, x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of *x*, each of shape (rows, n, heads, width of a head)."""
        rows, count, width = x.shape
        parts = self.query_key_value(self.norm(x)).view(rows, count, 3, heads, width // heads)
        return parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]

    def feed(self, x: Tensor) -> Tensor:
        """The layer's end."""
        return x + self.feed_out(functional.gelu(self.feed_in(self.feed_norm(x))))


@dataclass(frozen=True, slots=True)
class Encoder:
    """Log-mel to what the decoder listens to."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    positions: Tensor
    layers: tuple[Layer, ...]
    norm: Norm
    heads: int

    def __call__(self, mel: Tensor) -> Tensor:
        """Encode windows, shape (rows, mels, 3000), to (rows, 1500, width)."""
        x = functional.gelu(functional.conv1d(mel.to(self.positions.dtype), *self.first, padding=1))
        x = functional.gelu(functional.conv1d(x, *self.second, stride=2, padding=1)).transpose(1, 2) + self.positions
        x = x.contiguous()  # the sum lies in memory as the convolution left it, which each layer would pay for again
        for layer in self.layers:
            query, key, value = (part.transpose(1, 2) for part in layer.split(x, self.heads))
            found = attend(query, key, value)
            x = layer.feed(x + layer.out(found.transpose(1, 2).flatten(2)))
        return self.norm(x)


@dataclass(frozen=True, slots=True)
class Decoder:
    """
    Tokens and sound to what the next token may be.

    ``padded`` is the embedding, with rows of zeros after it: products with 51,866 rows are four times as slow on a GPU.
    """

    padded: Tensor
    vocabulary: int
    positions: Tensor
    layers: tuple[Layer, ...]
    norm: Norm
    heads: int

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens and their positions, of shapes that fit together, to (…, width)."""
        return functional.embedding(tokens, self.padded) + functional.embedding(positions, self.positions)

    def logits(self, x: Tensor) -> Tensor:
        """How likely each id is to come next, as float32."""
        return functional.linear(self.norm(x), self.padded)[..., : self.vocabulary].float()

    def listen(self, layer: Layer, x: Tensor, keys: Tensor, values: Tensor, attend: Attend) -> Tensor:
        """Add what *x*, shape (rows, n, width), finds in the sound's *keys* and *values*, once for all n."""
        cross = layer.cross
        assert cross is not None  # noqa: S101  a decoder's layer
        rows, count, width = x.shape
        query = cross.query(cross.norm(x)).view(rows, count, self.heads, width // self.heads).transpose(1, 2)
        return x + cross.out(attend(query, keys, values).transpose(1, 2).reshape(rows, count, width))


@dataclass(frozen=True, slots=True)
class Network:
    """A whole model, and what its makers say of it."""

    encoder: Encoder
    decoder: Decoder
    mels: int
    alignment_heads: tuple[tuple[int, int], ...]
    suppressed_first: tuple[int, ...] = ()
    languages: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Features of a position."""
        return int(self.decoder.padded.shape[1])

    @property
    def vocabulary(self) -> int:
        """Ids."""
        return self.decoder.vocabulary

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.decoder.padded.dtype

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.decoder.padded.device
