"""The demo model as an MLX directory, which mlx-whisper loads. Written with numpy alone, so on any machine."""

import json
import re
import struct
from pathlib import Path

import numpy as np

from demo.tokenizer import tokenizer_json
from demo.vocabulary import VOCABULARY_SIZE
from demo.weights import AUDIO_POSITIONS, MELS, TEXT_POSITIONS, Array, Weights

NAMES = (
    (re.compile(r"^eblocks\."), "encoder.blocks."),
    (re.compile(r"^dblocks\."), "decoder.blocks."),
    (re.compile(r"^(conv\d|ln_post)\."), r"encoder.\1."),
    (re.compile(r"^ln\."), "decoder.ln."),
    (re.compile(r"\.mlp\.0\."), ".mlp1."),
    (re.compile(r"\.mlp\.2\."), ".mlp2."),
    (re.compile(r"^token_embedding$"), "decoder.token_embedding.weight"),
    (re.compile(r"^text_positions$"), "decoder.positional_embedding"),
)


def write_mlx(weights: Weights, directory: Path) -> None:
    """Write *weights* in float16, mlx-whisper's `config.json` and the tokenizer into *directory*."""
    # mlx-whisper computes the encoder's positions itself, from the width.
    arrays = {_rename(name): array for name, array in weights.arrays.items() if name != "audio_positions"}
    for name, array in arrays.items():
        if array.ndim == 3:  # a convolution: MLX has channels last
            arrays[name] = array.transpose(0, 2, 1)
    _write_safetensors(arrays, directory / "weights.safetensors")
    shape = weights.shape
    config = {
        "n_mels": MELS,
        "n_audio_ctx": AUDIO_POSITIONS,
        "n_audio_state": shape.width,
        "n_audio_head": shape.heads,
        "n_audio_layer": shape.encoder_layers,
        "n_vocab": VOCABULARY_SIZE,
        "n_text_ctx": TEXT_POSITIONS,
        "n_text_state": shape.width,
        "n_text_head": shape.heads,
        "n_text_layer": shape.decoder_layers,
        "model_type": "whisper",
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    # mlx-whisper's own vocabulary spells words with tokens that the demo model has never seen.
    tokenizer = json.dumps(tokenizer_json(weights.tokens), ensure_ascii=False, separators=(",", ":"))
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def _rename(name: str) -> str:
    for pattern, replacement in NAMES:
        name = pattern.sub(replacement, name)
    return name


def _write_safetensors(arrays: dict[str, Array], path: Path) -> None:
    """Write the safetensors format: header length (8 bytes), JSON header padded to 8 bytes, then the raw arrays."""
    header: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    blobs: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        blob = np.ascontiguousarray(array.astype(np.float16)).tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.writelines(blobs)
