"""
The demo model inside the real dimensions of a Whisper size: its transcripts at the real model's cost.

So benchmarks can show speed and word error rate together, and other servers can be run unmodified beside ours.

Every feature is repeated `width / 128` times, which LayerNorm leaves unchanged; matrices are tiled and divided
by that number. Each of the demo's heads lives in one head of 64; spare heads add zero. Spare layers do their
full work and add a millionth of it; their rows are rotated so that no two layers are stored or cached as one.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demo.names import Size
from demo.weights import Array, Shape, Weights

SHAPES: dict[Size, tuple[int, int, int, int]] = {
    "tiny": (384, 6, 4, 4),
    "base": (512, 8, 6, 6),
    "small": (768, 12, 12, 12),
    "medium": (1024, 16, 24, 24),
    "large": (1280, 20, 32, 32),
    "turbo": (1280, 20, 32, 4),
}
"""Width, heads, encoder layers, decoder layers."""

SPARE_GAIN = 1e-6


class _Layer(NamedTuple):
    source: str
    target: str
    rotation: int
    """0 for a layer of the demo's own, else how far to rotate the rows of a spare one."""

    @property
    def gain(self) -> float:
        return SPARE_GAIN if self.rotation else 1.0


def widen(weights: Weights, size: Size) -> Weights:
    """Return *weights* in the dimensions of *size*, with the same outputs up to rounding."""
    width, heads, encoder_layers, decoder_layers = SHAPES[size]
    shape = Shape(width, heads, encoder_layers, decoder_layers, alignment_heads=weights.shape.heads)
    return replace(weights, shape=shape, arrays=_Widening(weights, shape).run())


class _Widening:
    def __init__(self, weights: Weights, shape: Shape) -> None:
        self.source = weights.arrays
        self.small = weights.shape
        self.wide = shape
        self.repeat = shape.width // weights.shape.width
        self.small_head = weights.shape.width // weights.shape.heads
        self.wide_head = shape.width // shape.heads
        self.head_repeat = self.wide_head // self.small_head
        self.spare_heads = shape.heads - weights.shape.heads
        # Scales are float64, so that a weight is rounded once: at the end of `run`.
        self.arrays: dict[str, NDArray[np.floating[Any]]] = {}

    def run(self) -> dict[str, Array]:
        self._convolutions()
        # Spare layers come first, so that the demo's own stay the last: word alignment reads the last one.
        for side, own, count in (
            ("eblocks", self.small.encoder_layers, self.wide.encoder_layers),
            ("dblocks", self.small.decoder_layers, self.wide.decoder_layers),
        ):
            for index in range(count):
                original = index - (count - own)
                rotation = index + 1 if original < 0 else 0
                self._layer(_Layer(f"{side}.{max(original, 0)}", f"{side}.{index}", rotation))
        self._norm("ln_post", "ln_post")
        for name in ("ln.weight", "ln.bias"):
            # The projection to the vocabulary is the embedding itself, repeated as the features are.
            self.arrays[name] = self._vector(self.source[name]) / self.repeat
        for name in ("token_embedding", "text_positions", "audio_positions"):
            self.arrays[name] = np.tile(self.source[name], (1, self.repeat))
        return {name: np.asarray(array, np.float32) for name, array in self.arrays.items()}

    def _convolutions(self) -> None:
        k, source = self.repeat, self.source
        self.arrays["conv1.weight"] = np.tile(source["conv1.weight"], (k, 1, 1))
        self.arrays["conv2.weight"] = np.tile(source["conv2.weight"], (k, k, 1)) / k
        for name in ("conv1.bias", "conv2.bias"):
            self.arrays[name] = self._vector(source[name])

    def _layer(self, layer: _Layer) -> None:
        cross = layer.source.startswith("dblocks")
        for attention in ("attn", "cross_attn") if cross else ("attn",):
            self._attention(layer, attention)
            self._norm(f"{layer.source}.{attention}_ln", f"{layer.target}.{attention}_ln")
        self._norm(f"{layer.source}.mlp_ln", f"{layer.target}.mlp_ln")
        for name, gain in (("mlp.0", 1.0), ("mlp.2", layer.gain)):
            matrix = self.source[f"{layer.source}.{name}.weight"]
            tiled = np.tile(matrix, (self.repeat, self.repeat)) / self.repeat
            self.arrays[f"{layer.target}.{name}.weight"] = np.roll(tiled, layer.rotation, axis=0) * gain
            bias = self._vector(self.source[f"{layer.source}.{name}.bias"])
            self.arrays[f"{layer.target}.{name}.bias"] = bias * gain

    def _attention(self, layer: _Layer, attention: str) -> None:
        source, target = f"{layer.source}.{attention}", f"{layer.target}.{attention}"
        # Scores are divided by the root of the head's size; the repeated features add up `head_repeat` times.
        query_scale = np.sqrt(self.wide_head) / (np.sqrt(self.small_head) * self.head_repeat)
        for name, scale in (("query", query_scale), ("key", 1.0), ("value", 1.0)):
            matrix = self.source[f"{source}.{name}.weight"]
            rows = [
                np.tile(part, (self.head_repeat, self.repeat)) / self.repeat * scale
                for part in np.split(matrix, self.small.heads)
            ]
            stacked = np.concatenate(rows + rows[:1] * self.spare_heads)
            self.arrays[f"{target}.{name}.weight"] = np.roll(stacked, layer.rotation, axis=0)
            bias = self.source.get(f"{source}.{name}.bias")
            if bias is not None:
                parts = [np.tile(part, self.head_repeat) * scale for part in np.split(bias, self.small.heads)]
                self.arrays[f"{target}.{name}.bias"] = np.concatenate(parts + parts[:1] * self.spare_heads)
        self._attention_output(layer, source, target)

    def _attention_output(self, layer: _Layer, source: str, target: str) -> None:
        """Spare heads meet zero columns here: they are computed and come to nothing."""
        output = np.zeros((self.wide.width, self.wide.width), np.float32)
        for head, part in enumerate(np.split(self.source[f"{source}.out.weight"], self.small.heads, axis=1)):
            columns = slice(head * self.wide_head, (head + 1) * self.wide_head)
            output[:, columns] = np.tile(part, (self.repeat, self.head_repeat)) / self.head_repeat
        self.arrays[f"{target}.out.weight"] = np.roll(output, layer.rotation, axis=0) * layer.gain
        self.arrays[f"{target}.out.bias"] = self._vector(self.source[f"{source}.out.bias"]) * layer.gain

    def _norm(self, source: str, target: str) -> None:
        for parameter in ("weight", "bias"):
            self.arrays[f"{target}.{parameter}"] = self._vector(self.source[f"{source}.{parameter}"])

    def _vector(self, vector: Array) -> Array:
        return np.tile(vector, self.repeat)
