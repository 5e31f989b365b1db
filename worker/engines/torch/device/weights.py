"""A directory's model as a network."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engines.torch.device.files import Ct2Tensors, NotWhisper, read_safetensors
from worker.engines.torch.device.network import (
    AUDIO_POSITIONS,
    TEXT_POSITIONS,
    Cross,
    Decoder,
    Encoder,
    Layer,
    Linear,
    Network,
    Norm,
)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
MULTIPLE = 64
"""Of rows, in which a GPU's products are quick."""


def read_network(directory: Path, *, device: str, compute_type: str) -> Network:
    """
    Read the model in *directory* onto *device*.

    Args:
        directory: Holds CTranslate2's `model.bin`, or Hugging Face's `model.safetensors`; and `config.json`.
        device: As torch names it.
        compute_type: One of DTYPES.

    Raises:
        NotWhisper: it holds no Whisper model, or not all of one.
        OSError: it can't be read.
    """
    config = _json(directory / "config.json")
    if (directory / "model.bin").is_file():
        tensors: Mapping[str, Tensor] = Ct2Tensors(directory / "model.bin")
        said = config
        heads = tuple(int(tensors[f"{side}/num_heads"]) for side in ("encoder", "decoder"))
    else:
        if config.get("model_type") != "whisper":
            raise NotWhisper(f"{directory} is a {config.get('model_type', 'nameless')} model, not Whisper")
        tensors, said = read_safetensors(directory), _of_hugging_face(_json(directory / "generation_config.json"))
        heads = tuple(int(config.get(f"{side}_attention_heads") or 0) for side in ("encoder", "decoder"))
        if not all(heads):
            raise NotWhisper(f"{directory / 'config.json'} doesn't tell how many heads the model has")
    reader = _Reader(directory, tensors, device, DTYPES[compute_type])
    encoder, decoder = reader.encoder(heads[0]), reader.decoder(heads[1])
    _check(directory, config, encoder, decoder)
    return Network(
        encoder,
        decoder,
        mels=encoder.first[0].shape[1],
        alignment_heads=tuple((int(a), int(b)) for a, b in said.get("alignment_heads") or _late_heads(decoder)),
        suppressed_first=tuple(said.get("suppress_ids_begin") or ()),
        languages=tuple(said.get("lang_ids") or ()),
    )


def _check(directory: Path, config: dict[str, Any], encoder: Encoder, decoder: Decoder) -> None:
    """See that the parts belong together. NotWhisper."""
    width = decoder.padded.shape[1]
    for side, part in (("encoder", encoder), ("decoder", decoder)):
        told = config.get(f"{side}_layers", len(part.layers))  # Hugging Face's; CTranslate2's file is whole or cut
        if not part.layers or len(part.layers) != told:
            raise NotWhisper(f"{directory} has {len(part.layers)} of {told} {side} layers: fetch the model anew")
        if part.positions.shape[1] != width or width % part.heads:
            own = f"{part.positions.shape[1]} features in {part.heads} heads"
            raise NotWhisper(f"{directory}: the {side} has {own}, the text {width}: they don't belong together")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise NotWhisper(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise NotWhisper(f"{path} holds no settings of a model")
    return found


def _of_hugging_face(said: dict[str, Any]) -> dict[str, Any]:
    return {
        "alignment_heads": said.get("alignment_heads"),
        "suppress_ids_begin": said.get("begin_suppress_tokens"),
        "lang_ids": sorted((said.get("lang_to_id") or {}).values()),
    }


def _late_heads(decoder: Decoder) -> list[tuple[int, int]]:
    """What Whisper looks at where nobody has said better: all heads of the layers' second half."""
    count = len(decoder.layers)
    return [(layer, head) for layer in range(count // 2, count) for head in range(decoder.heads)]


class _Reader:
    """Takes tensors by their names, and says which of them is missing or has a strange shape."""

    def __init__(self, directory: Path, tensors: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> None:
        self._directory, self._tensors, self._device, self._dtype = directory, tensors, device, dtype

    def encoder(self, heads: int) -> Encoder:
        """The encoder."""
        positions = self._take("encoder/position_encodings/encodings")
        if len(positions) != AUDIO_POSITIONS:
            raise NotWhisper(f"{self._directory} listens to {len(positions)} steps of sound, not {AUDIO_POSITIONS}")
        return Encoder(
            self._pair("encoder/conv1"),
            self._pair("encoder/conv2"),
            positions,
            self._layers("encoder"),
            self._norm("encoder/layer_norm"),
            heads,
        )

    def decoder(self, heads: int) -> Decoder:
        """The decoder."""
        positions = self._take("decoder/position_encodings/encodings")
        if len(positions) != TEXT_POSITIONS:
            raise NotWhisper(f"{self._directory} writes {len(positions)} tokens at most, not {TEXT_POSITIONS}")
        embedding = self._take("decoder/embeddings/weight")
        padded = functional.pad(embedding, (0, 0, 0, -len(embedding) % MULTIPLE))
        layers, norm = self._layers("decoder"), self._norm("decoder/layer_norm")
        return Decoder(padded, len(embedding), positions, layers, norm, heads)

    def _layers(self, side: str) -> tuple[Layer, ...]:
        count = len({name.split("/")[1] for name in self._tensors if re.match(rf"{side}/layer_\d+/", name)})
        return tuple(self._layer(f"{side}/layer_{number}", cross=side == "decoder") for number in range(count))

    def _layer(self, place: str, *, cross: bool) -> Layer:
        sound = f"{place}/attention"
        return Layer(
            norm=self._norm(f"{place}/self_attention/layer_norm"),
            query_key_value=self._linear(f"{place}/self_attention/linear_0"),
            out=self._linear(f"{place}/self_attention/linear_1"),
            cross=Cross(
                self._norm(f"{sound}/layer_norm"),
                self._linear(f"{sound}/linear_0"),
                self._linear(f"{sound}/linear_1"),
                self._linear(f"{sound}/linear_2"),
            )
            if cross
            else None,
            feed_norm=self._norm(f"{place}/ffn/layer_norm"),
            feed_in=self._linear(f"{place}/ffn/linear_0"),
            feed_out=self._linear(f"{place}/ffn/linear_1"),
        )

    def _linear(self, place: str) -> Linear:
        return Linear(*self._pair(place))

    def _pair(self, place: str) -> tuple[Tensor, Tensor]:
        return self._take(f"{place}/weight"), self._take(f"{place}/bias")

    def _norm(self, place: str) -> Norm:
        return Norm(self._take(f"{place}/gamma"), self._take(f"{place}/beta"))

    def _take(self, name: str) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise NotWhisper(f"{self._directory} has no {name}: the model isn't whole, fetch it anew")
        return tensor.to(self._device).to(self._dtype).contiguous()
