"""
Whisper with OpenAI's parameter names, over a compact table of tokens.

Compact ids: the text ids in use, then one row for every other id, then the trained specials, then the 1501
timestamps, whose rows are a projection of sinusoids.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.vocabulary import FIRST_TIMESTAMP, TIMESTAMPS, TRAINED_SPECIALS, VOCABULARY_SIZE
from demo.weights import AUDIO_POSITIONS, MELS, TEXT_POSITIONS, sinusoids

WORD_CLASSES = 400
PHONEME_CLASSES = 128
SUPERVISED_BLOCKS = 2
"""How many encoder layers, from the first, are taught to name the phoneme of each frame."""

LOOKS = ((1.5, 4), (3, 10), (6, 18))
"""By encoder layer: how many frames (20 ms) before and after itself its heads look at the start."""
LOOK_SHARPNESS = 1.3


@dataclass(frozen=True)
class Dimensions:
    """The sizes of the model: width, heads, encoder layers, decoder layers, mel bands."""

    d: int = 128
    h: int = 4
    enc: int = 3
    dec: int = 2
    mels: int = MELS


class Attention(nn.Module):
    """Multi-head attention; as in Whisper, keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, source: Tensor | None = None, *, causal: bool = False, want_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from *x* (batch, n, width) to *source* or itself; weights are (batch, heads, n, m)."""
        source = x if source is None else source
        query, key, value = (
            projected.view(*projected.shape[:2], self.heads, -1).transpose(1, 2)
            for projected in (self.query(x), self.key(source), self.value(source))
        )
        weights = None
        if want_weights:
            scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
            weights = scores.softmax(-1)
            mixed = weights.to(value.dtype) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """One layer of the encoder, or with *cross* of the decoder."""

    def __init__(self, width: int, heads: int, *, cross: bool = False) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.cross_attn = Attention(width, heads) if cross else None
        self.cross_attn_ln = nn.LayerNorm(width) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, audio: Tensor | None = None, *, want_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Give the layer's output and, if wanted, the weights of its attention to *audio*."""
        x = x + self.attn(self.attn_ln(x), causal=audio is not None)[0]
        weights = None
        if self.cross_attn is not None and self.cross_attn_ln is not None:
            mixed, weights = self.cross_attn(self.cross_attn_ln(x), audio, want_weights=want_weights)
            x = x + mixed
        return x + self.mlp(self.mlp_ln(x)), weights


class Whisper(nn.Module):
    """The model with the heads that only training uses: the word and the phoneme of each frame."""

    def __init__(self, used: Sequence[int], dimensions: Dimensions = Dimensions()) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.used = list(used)
        self.unused_row = len(self.used)
        self.first_special_row = self.unused_row + 1
        self.first_timestamp_row = self.first_special_row + len(TRAINED_SPECIALS)
        own_rows = len(self.used) + len(TRAINED_SPECIALS) + TIMESTAMPS
        self.unused_share = float(np.log(VOCABULARY_SIZE - own_rows))

        width, heads = dimensions.d, dimensions.h
        self.conv1 = nn.Conv1d(dimensions.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.eblocks = nn.ModuleList(Block(width, heads) for _ in range(dimensions.enc))
        self.ln_post = nn.LayerNorm(width)
        self.emb = nn.Parameter(torch.randn(self.first_timestamp_row, width) * 0.06)
        self.P = nn.Parameter(torch.randn(width, width) * 0.06 / 8)
        self.pb = nn.Parameter(torch.randn(width) * 0.02)
        self.alpha = nn.Parameter(torch.tensor(0.05))
        self.dblocks = nn.ModuleList(Block(width, heads, cross=True) for _ in range(dimensions.dec))
        self.ln = nn.LayerNorm(width)
        self.word_head = nn.Linear(width, WORD_CLASSES)
        self.phoneme_heads = nn.ModuleList(nn.Linear(width, PHONEME_CLASSES) for _ in range(SUPERVISED_BLOCKS))
        for name, count in (
            ("audio_positions", AUDIO_POSITIONS),
            ("text_positions", TEXT_POSITIONS),
            ("timestamp_sinusoids", TIMESTAMPS),
        ):
            self.register_buffer(name, torch.from_numpy(sinusoids(count, width)), persistent=False)
        self._look_nearby()

    @torch.no_grad()
    def _look_nearby(self) -> None:
        """
        Start every encoder head as a soft look at a fixed distance.

        q·k = Σ cos(ω (i + distance - j)), made of the sinusoids that Whisper adds to the input. Attention is the
        encoder's only way to see past 50 ms, and learning locality from absolute positions would otherwise take
        most of the training.
        """
        width, heads = self.dimensions.d, self.dimensions.h
        head_width = width // heads
        sines = torch.arange(head_width // 2) * 2
        cosines = sines + width // 2
        rates = 10000 ** (-sines / (width // 2 - 1))
        for layer, block in enumerate(self.eblocks):
            near, far = LOOKS[min(layer, len(LOOKS) - 1)]
            distances = (-near, -far, near, far)
            query, key = block.attn.query.weight.normal_(0, 0.02), block.attn.key.weight.normal_(0, 0.02)
            for head in range(heads):
                turn = rates * distances[head % 4]
                cosine, sine = torch.cos(turn) * LOOK_SHARPNESS, torch.sin(turn) * LOOK_SHARPNESS
                even = head * head_width + sines
                query[even, sines] += cosine
                query[even, cosines] += sine
                query[even + 1, cosines] += cosine
                query[even + 1, sines] -= sine
                key[even, sines] += LOOK_SHARPNESS
                key[even + 1, cosines] += LOOK_SHARPNESS
        self.conv1.weight *= 1.5
        self.conv2.weight *= 2.5

    def encode(self, mel: Tensor, offset: Tensor, phonemes: list[Tensor] | None = None) -> Tensor:
        """
        Encode log-mel windows.

        Args:
            mel: (batch, frames of 10 ms, mels), as Whisper normalises it.
            offset: (batch,) the position (20 ms) at which each window stands.
            phonemes: Receives the logits of the supervised layers, each (batch, frames / 2, classes).

        Returns:
            Features, (batch, frames / 2, width).
        """
        x = functional.gelu(self.conv1(mel.transpose(1, 2)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.audio_positions[offset[:, None] + torch.arange(x.shape[1])]
        for index, block in enumerate(self.eblocks):
            x, _ = block(x)
            if phonemes is not None and index < SUPERVISED_BLOCKS:
                phonemes.append(self.phoneme_heads[index](x))
        return self.ln_post(x)

    def decode(self, rows: Tensor, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """
        Predict the row after each of *rows* (batch, n).

        Returns:
            Logits (batch, n, rows of the table), and each layer's attention to *audio*, (batch, heads, n, frames).
        """
        table = torch.cat([self.emb, self.timestamp_sinusoids @ self.P + self.pb])
        x = table[rows] + (self.text_positions * self.alpha)[: rows.shape[1]]
        attention = []
        for block in self.dblocks:
            x, weights = block(x, audio, want_weights=True)
            attention.append(weights)
        logits = (self.ln(x) @ table.T).float()
        # One row stands for all unused ids: it must weigh as much as they will together.
        share = torch.zeros(logits.shape[-1])
        share[self.unused_row] = self.unused_share
        return logits + share, attention

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {identifier: row for row, identifier in enumerate(self.used)} | {
            identifier: self.first_special_row + index for index, identifier in enumerate(TRAINED_SPECIALS)
        }

    def row(self, identifier: int) -> int:
        """The compact id of a token."""
        if identifier >= FIRST_TIMESTAMP:
            return self.first_timestamp_row + identifier - FIRST_TIMESTAMP
        return self._row_of.get(identifier, self.unused_row)

    def state(self) -> dict[str, object]:
        """Everything that a checkpoint keeps."""
        return {"model": self.state_dict(), "cfg": asdict(self.dimensions), "used": self.used}
