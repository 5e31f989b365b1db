"""Tensors on disk: CTranslate2's `model.bin` and Hugging Face's safetensors, by one set of names."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worker.engines.model_bin import ModelBin

RENAMED = (
    (r"^model\.", ""),
    (r"\.layers\.(\d+)\.", r".layer_\1."),
    (r"\.self_attn_layer_norm\.", ".self_attention.layer_norm."),
    (r"\.encoder_attn_layer_norm\.", ".attention.layer_norm."),
    (r"(layer_\d+)\.final_layer_norm\.", r"\1.ffn.layer_norm."),
    (r"\.self_attn\.", ".self_attention."),
    (r"\.encoder_attn\.", ".attention."),
    (r"\.fc1\.", ".ffn.linear_0."),
    (r"\.fc2\.", ".ffn.linear_1."),
    (r"\.embed_positions\.weight$", ".position_encodings.encodings"),
    (r"\.embed_tokens\.", ".embeddings."),
    (r"layer_norm\.weight$", "layer_norm.gamma"),
    (r"layer_norm\.bias$", "layer_norm.beta"),
)
"""Hugging Face's names as CTranslate2's, but for projections that the latter has in one."""

FUSED = {
    "self_attention": (("linear_0", ("q_proj", "k_proj", "v_proj")), ("linear_1", ("out_proj",))),
    "attention": (("linear_0", ("q_proj",)), ("linear_1", ("k_proj", "v_proj")), ("linear_2", ("out_proj",))),
}


class NotWhisper(ValueError):
    """The files hold something else than a whole Whisper model."""


class Ct2Tensors(Mapping[str, Tensor]):
    """CTranslate2's `model.bin` as tensors by name, each read when it is asked for; quantised ones come as float32."""

    def __init__(self, path: Path) -> None:
        """
        Read the table of contents of *path*.

        Raises:
            ModelUnavailable: it can't be read, or was cut.
            NotWhisper: another architecture.
        """
        self._file = ModelBin(path)
        if self._file.architecture != "WhisperSpec":
            raise NotWhisper(f"{path} holds a {self._file.architecture.removesuffix('Spec')} model, not Whisper")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._file:
            raise KeyError(name)
        stored = self._file.raw(name)
        if stored.dtype == np.uint16:
            return torch.from_numpy(stored.copy()).view(torch.bfloat16)
        tensor = torch.from_numpy(np.array(stored))
        scale = f"{name}_scale"
        if tensor.dtype not in {torch.int8, torch.int16} or scale not in self._file:
            return tensor
        return tensor.float() / self[scale].view(-1, *[1] * (tensor.dim() - 1))

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.names())

    def __len__(self) -> int:
        return len(self._file.names())


def read_safetensors(directory: Path) -> dict[str, Tensor]:
    """
    Read Hugging Face's weights in *directory*, in one file or many.

    Raises:
        NotWhisper: a file is missing or was cut.
    """
    index = directory / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if not (directory / names[0]).is_file() and index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            with safe_open(directory / name, framework="pt") as file:
                tensors |= {_renamed(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
        except (OSError, RuntimeError, SafetensorError) as error:
            raise NotWhisper(f"{directory / name} can't be read: {error}") from error
    return _fused(tensors)


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name.replace(".", "/")


def _fused(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack projections as CTranslate2 does; keys have no bias."""
    layers = {name.rpartition("/")[0].rpartition("/")[0] for name in tensors if "_proj/" in name}
    for place in layers:
        for target, parts in FUSED[place.rpartition("/")[2]]:
            weights = [tensors.pop(f"{place}/{part}/weight") for part in parts if f"{place}/{part}/weight" in tensors]
            if len(weights) < len(parts):
                continue  # said by whoever asks for it
            biases = [
                tensors.pop(f"{place}/{part}/bias", torch.zeros(len(weight), dtype=weight.dtype))
                for part, weight in zip(parts, weights, strict=True)
            ]
            tensors[f"{place}/{target}/weight"] = torch.cat(weights)
            tensors[f"{place}/{target}/bias"] = torch.cat(biases)
    return tensors
