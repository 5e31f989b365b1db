"""Whisper's encoder as an OpenVINO graph, put together from CTranslate2's weights."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from worker.engines.model_bin import Floats, ModelBin

EPSILON = 1e-5
FRAMES_A_POSITION = 2
"""The second convolution halves the frames."""


def encoder_graph(weights: ModelBin, *, int8: bool, frames: int | None = None) -> ov.Model:
    """
    Put the encoder together.

    Args:
        weights: A Whisper model of any size, with 80 or 128 mels.
        int8: Keep the weights of linear layers in int8 with a scale for each row, and let OpenVINO quantise what they
            are multiplied with as it comes.
        frames: Length of the features; None: any even length up to what the model was trained on.

    Returns:
        A model from log-mel features, shape (n, mels, frames), to encodings, shape (n, frames / 2, width), float32.

    Raises:
        ModelUnavailable: *weights* are no Whisper model.
    """
    return _Builder(weights, int8=int8).model(frames)


class _Builder:
    """The graph, layer by layer. Names of variables are those of CTranslate2's specification."""

    def __init__(self, weights: ModelBin, *, int8: bool) -> None:
        self._weights = weights
        self._int8 = int8
        self._positions = weights.floats("encoder/position_encodings/encodings")
        self._width = self._positions.shape[1]
        self._heads = int(weights.raw("encoder/num_heads"))

    def model(self, frames: int | None) -> ov.Model:
        mels = self._weights.raw("encoder/conv1/weight").shape[1]
        longest = len(self._positions) * FRAMES_A_POSITION
        features = ops.parameter(ov.PartialShape([-1, mels, frames or ov.Dimension(2, longest)]), np.float32)
        x = self._convolution(features, "encoder/conv1", stride=1)
        x = self._convolution(x, "encoder/conv2", stride=2)
        x = ops.transpose(x, _ints(0, 2, 1))
        length = ops.gather(ops.shape_of(x), _ints(1), _ints(0))
        positions = ops.slice(ops.constant(self._positions), _ints(0), length, _ints(1), _ints(0))
        x = ops.add(x, positions)
        index = 0
        while f"encoder/layer_{index}/self_attention/linear_0/weight" in self._weights:
            x = self._layer(x, f"encoder/layer_{index}")
            index += 1
        return ov.Model([self._norm(x, "encoder/layer_norm")], [features], "whisper_encoder")

    def _layer(self, x: ov.Node, name: str) -> ov.Node:
        attention = f"{name}/self_attention"
        stacked = self._linear(self._norm(x, f"{attention}/layer_norm"), f"{attention}/linear_0")
        query, key, value = (self._split_heads(part) for part in ops.split(stacked, _int(2), 3).outputs())
        heard = ops.scaled_dot_product_attention(query, key, value, causal=False)
        heard = ops.reshape(ops.transpose(heard, _ints(0, 2, 1, 3)), _ints(0, 0, self._width), special_zero=True)
        x = ops.add(x, self._linear(heard, f"{attention}/linear_1"))
        inner = self._linear(self._norm(x, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0")
        return ops.add(x, self._linear(ops.gelu(inner, "erf"), f"{name}/ffn/linear_1"))

    def _split_heads(self, x: ov.Output) -> ov.Node:
        size = self._width // self._heads
        return ops.transpose(ops.reshape(x, _ints(0, 0, self._heads, size), special_zero=True), _ints(0, 2, 1, 3))

    def _linear(self, x: ov.Node, name: str) -> ov.Node:
        weight = self._weights.floats(f"{name}/weight")
        product = ops.matmul(x, self._matrix(weight), transpose_a=False, transpose_b=True)
        return ops.add(product, ops.constant(self._weights.floats(f"{name}/bias")))

    def _matrix(self, weight: Floats) -> ov.Node:
        if not self._int8:
            return ops.constant(weight)
        scales = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-8) / 127
        rounded = np.rint(weight / scales).astype(np.int8)
        return ops.multiply(ops.convert(ops.constant(rounded), np.float32), ops.constant(scales.astype(np.float32)))

    def _norm(self, x: ov.Node, name: str) -> ov.Node:
        centred = ops.mvn(x, _ints(2), normalize_variance=True, eps=EPSILON, eps_mode="INSIDE_SQRT")
        scaled = ops.multiply(centred, ops.constant(self._weights.floats(f"{name}/gamma")))
        return ops.add(scaled, ops.constant(self._weights.floats(f"{name}/beta")))

    def _convolution(self, x: ov.Node, name: str, *, stride: int) -> ov.Node:
        weight = ops.constant(self._weights.floats(f"{name}/weight"))
        y = ops.convolution(x, weight, [stride], [1], [1], [1])
        bias = self._weights.floats(f"{name}/bias")
        return ops.gelu(ops.add(y, ops.constant(bias.reshape(1, -1, 1))), "erf")


def _ints(*values: int) -> ov.Node:
    return ops.constant(np.array(values, np.int64))


def _int(value: int) -> ov.Node:
    return ops.constant(np.int64(value))
