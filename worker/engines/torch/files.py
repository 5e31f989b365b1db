"""Tensors on disk: CTranslate2's `model.bin` and Hugging Face's safetensors, by one set of names."""

import json
import mmap
import re
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

BINARY_VERSION = 6
TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
"""CTranslate2's types by their number in a file."""

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


def read_ct2(path: Path) -> dict[str, Tensor]:
    """
    Read CTranslate2's *path*, as it is: what was quantised has its scale beside it, under its name and `_scale`.

    Tensors are views of the file, which stays open as long as one of them lives.

    Raises:
        NotWhisper: another architecture or version, or the file was cut.
    """
    try:
        with path.open("rb") as file:
            return _variables(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except NotWhisper as error:
        raise NotWhisper(f"{path}: {error}") from error
    except (struct.error, ValueError, IndexError, KeyError, RuntimeError) as error:
        raise NotWhisper(f"{path} was cut, or isn't CTranslate2's: {error}") from error


def _variables(content: mmap.mmap) -> dict[str, Tensor]:
    at = 0

    def take(form: str) -> Any:
        nonlocal at
        value = struct.unpack_from("<" + form, content, at)
        at += struct.calcsize("<" + form)
        return value if len(value) > 1 else value[0]

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return content[at - length : at - 1].decode()

    version = take("I")
    if version != BINARY_VERSION:
        raise NotWhisper(f"its binary version is {version}, and {BINARY_VERSION} is known: convert the model anew")
    architecture, _ = text(), take("I")
    if architecture != "WhisperSpec":
        raise NotWhisper(f"it is a {architecture.removesuffix('Spec')} model, not Whisper")
    tensors: dict[str, Tensor] = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = TYPES[take("B")], take("I")
        if at + size > len(content):
            raise NotWhisper("the file ends in the middle of its weights: fetch it anew")
        count = size // dtype.itemsize
        tensors[name] = torch.frombuffer(content, dtype=dtype, count=count, offset=at).reshape(shape)
        at += size
    for _ in range(take("I")):
        alias, name = text(), text()
        for kind in ("", "_scale"):
            if name + kind in tensors:
                tensors[alias + kind] = tensors[name + kind]
    return tensors


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
