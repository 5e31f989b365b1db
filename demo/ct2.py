"""The demo model as a CTranslate2 directory, which faster-whisper loads."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from demo.tokenizer import tokenizer_json, vocabulary_list
from demo.vocabulary import END_OF_TEXT, FIRST_LANGUAGE, LANGUAGES
from demo.weights import MELS, Array, Weights

SPACE = 220


def write_ct2(weights: Weights, directory: Path, *, quantization: str | None = "int8") -> None:
    """Write *weights* with everything that faster-whisper looks for into *directory*; None: in float32."""
    # ctranslate2 is heavy and belongs to the worker alone: reading the samples must not need it.
    from ctranslate2.specs import WhisperSpec  # noqa: PLC0415

    shape = weights.shape
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    _fill_encoder(spec.encoder, weights.arrays)
    _fill_decoder(spec.decoder, weights.arrays)
    spec.register_vocabulary(vocabulary_list(weights.tokens))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [SPACE, END_OF_TEXT]
    spec.config.lang_ids = list(range(FIRST_LANGUAGE, FIRST_LANGUAGE + len(LANGUAGES)))
    spec.config.alignment_heads = [[shape.decoder_layers - 1, head] for head in range(shape.alignment_heads)]
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(directory))

    # Without a tokenizer.json of its own faster-whisper would ask the hub for one.
    _write_json(directory / "tokenizer.json", tokenizer_json(weights.tokens))
    _write_json(
        directory / "preprocessor_config.json",
        {
            "feature_size": MELS,
            "sampling_rate": 16000,
            "hop_length": 160,
            "chunk_length": 30,
            "n_fft": 400,
            "feature_extractor_type": "WhisperFeatureExtractor",
        },
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


# CTranslate2's specs make their attributes at run time and have no types, hence Any.
def _fill_encoder(spec: Any, arrays: dict[str, Array]) -> None:
    for name in ("conv1", "conv2"):
        convolution = getattr(spec, name)
        convolution.weight, convolution.bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
    spec.position_encodings.encodings = arrays["audio_positions"]
    for index, layer in enumerate(spec.layer):
        _fill_layer(layer, arrays, f"eblocks.{index}")
    _fill_norm(spec.layer_norm, arrays, "ln_post")


def _fill_decoder(spec: Any, arrays: dict[str, Array]) -> None:
    spec.embeddings.weight = arrays["token_embedding"]
    spec.position_encodings.encodings = arrays["text_positions"]
    for index, layer in enumerate(spec.layer):
        block = f"dblocks.{index}"
        _fill_layer(layer, arrays, block)
        cross = f"{block}.cross_attn"
        _fill_norm(layer.attention.layer_norm, arrays, f"{block}.cross_attn_ln")
        _fill_linear(layer.attention.linear[0], arrays, f"{cross}.query")
        _fill_linear(layer.attention.linear[1], arrays, f"{cross}.key", f"{cross}.value")
        _fill_linear(layer.attention.linear[2], arrays, f"{cross}.out")
    _fill_norm(spec.layer_norm, arrays, "ln")
    spec.projection.weight = arrays["token_embedding"]


def _fill_layer(spec: Any, arrays: dict[str, Array], block: str) -> None:
    attention = f"{block}.attn"
    _fill_norm(spec.self_attention.layer_norm, arrays, f"{block}.attn_ln")
    _fill_linear(spec.self_attention.linear[0], arrays, f"{attention}.query", f"{attention}.key", f"{attention}.value")
    _fill_linear(spec.self_attention.linear[1], arrays, f"{attention}.out")
    _fill_norm(spec.ffn.layer_norm, arrays, f"{block}.mlp_ln")
    _fill_linear(spec.ffn.linear_0, arrays, f"{block}.mlp.0")
    _fill_linear(spec.ffn.linear_1, arrays, f"{block}.mlp.2")


def _fill_linear(spec: Any, arrays: dict[str, Array], *names: str) -> None:
    """Stack the named projections into one. Whisper's keys have no bias; CTranslate2 wants zeros there."""
    weights = [arrays[f"{name}.weight"] for name in names]
    spec.weight = np.concatenate(weights)
    spec.bias = np.concatenate(
        [
            arrays.get(f"{name}.bias", np.zeros(len(weight), np.float32))
            for name, weight in zip(names, weights, strict=True)
        ]
    )


def _fill_norm(spec: Any, arrays: dict[str, Array], name: str) -> None:
    spec.gamma, spec.beta = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
