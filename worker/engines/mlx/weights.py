"""MLX models on disk: what a directory holds, as mlx-whisper's network and as a tokenizer."""

import base64
import sys
from importlib.machinery import PathFinder
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

WEIGHTS = ("weights.safetensors", "weights.npz")
DTYPES = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32}
TIMESTAMPS = 1501


def _package() -> None:
    """
    Make mlx-whisper's modules importable, but don't run its `__init__`.

    That imports numba and scipy, some 300 MB, for a transcription loop and a timing of words that aren't used here;
    network, loader and vocabulary need neither. torch it needs nowhere: a script for converting weights does.
    """
    spec = PathFinder.find_spec("mlx_whisper")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("mlx-whisper isn't installed", name="mlx_whisper")
    package = ModuleType("mlx_whisper")
    package.__path__, package.__spec__ = list(spec.submodule_search_locations), spec
    sys.modules.setdefault("mlx_whisper", package)


_package()

from mlx_whisper.load_models import load_model  # noqa: E402  the package had to be there first
from mlx_whisper.tokenizer import LANGUAGES  # noqa: E402


def read_network(directory: Path, compute_type: str) -> Any:
    """
    Read mlx-whisper's network; call it on MLX's thread.

    Args:
        directory: Has `config.json` and one of WEIGHTS.
        compute_type: One of DTYPES. Quantized weights stay quantized.

    Raises:
        KeyError, OSError, RuntimeError, TypeError, ValueError: the directory holds no such model.
    """
    dtype = DTYPES[compute_type]
    network = load_model(str(directory), dtype)
    network.set_dtype(dtype)
    mx.eval(network.parameters())
    return network


def read_tokenizer(directory: Path, vocabulary_size: int) -> tokenizers.Tokenizer:
    """The directory's own tokenizer; else Whisper's, in its English or multilingual form by *vocabulary_size*."""
    file = directory / "tokenizer.json"
    if file.is_file():
        return tokenizers.Tokenizer.from_file(str(file))
    multilingual = vocabulary_size >= 51865
    ranks = _ranks("multilingual" if multilingual else "gpt2")
    return _tokenizer(ranks, languages=vocabulary_size - 51765 - multilingual)


def _ranks(name: str) -> dict[bytes, int]:
    """Tokens and their ranks, from mlx-whisper's copy of tiktoken's files."""
    lines = (files("mlx_whisper") / "assets" / f"{name}.tiktoken").read_text("ascii").splitlines()
    pairs = (line.split() for line in lines)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _tokenizer(ranks: dict[bytes, int], *, languages: int) -> tokenizers.Tokenizer:
    spell = _spelling()
    merges = [_halves(token, ranks) for token in ranks if len(token) > 1]
    vocabulary = {"".join(spell[byte] for byte in token): rank for token, rank in ranks.items()}
    spelt = [("".join(spell[byte] for byte in a), "".join(spell[byte] for byte in b)) for a, b in merges]
    made = tokenizers.Tokenizer(models.BPE(vocabulary, spelt))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    codes = [*LANGUAGES][:languages]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    made.add_special_tokens([f"<|{word}|>" for word in ("endoftext", "startoftranscript", *codes, *tasks)])
    made.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(TIMESTAMPS)])
    return made


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that *token* is merged from: merge by rank until two are left."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _spelling() -> dict[int, str]:
    """GPT-2's printable character for every byte."""
    plain = (*range(33, 127), *range(161, 173), *range(174, 256))
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}
