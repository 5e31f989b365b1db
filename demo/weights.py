"""The shipped weights: one `.npz` of float16 arrays, read and expanded to the full vocabulary."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from demo.vocabulary import FIRST_TIMESTAMP, TIMESTAMPS, TRAINED_SPECIALS, VOCABULARY_SIZE

WEIGHTS_FILE = Path(__file__).with_name("weights.npz")
AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448
MELS = 80

Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The dimensions of a Whisper model. `alignment_heads` counts the heads of the last layer that follow the audio."""

    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    alignment_heads: int


@dataclass(frozen=True)
class TextToken:
    """One entry of the tokenizer: its id, its bytes, and the bytes of its left half (empty for a single byte)."""

    id: int
    content: bytes
    left: bytes


@dataclass(frozen=True)
class Weights:
    """
    A model ready to be written in some format.

    `arrays` has OpenAI's parameter names, with `eblocks` and `dblocks` for the encoder's and decoder's layers, and
    three tables: `token_embedding` (51865, width), `text_positions` (448, width), `audio_positions` (1500, width).
    """

    shape: Shape
    arrays: dict[str, Array]
    tokens: tuple[TextToken, ...]


def sinusoids(positions: int, width: int) -> Array:
    """Whisper's position encoding, shape (*positions*, *width*): sines in the left half, cosines in the right."""
    rates = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(positions)[:, None] * rates[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def read_weights(path: Path = WEIGHTS_FILE) -> Weights:
    """
    Read *path* and expand its compact tables.

    The file holds one row for each text id in use, one row shared by every other id, one row for each trained
    special, and a projection of sinusoids that gives the rows of the 1501 timestamps.
    """
    with np.load(path) as archive:
        meta = json.loads(bytes(archive["meta"]))
        arrays = {name: archive[name].astype(np.float32) for name in archive.files if name != "meta"}
    config, used = meta["cfg"], meta["used"]
    width: int = config["d"]

    rows, projection, bias = arrays.pop("emb"), arrays.pop("P"), arrays.pop("pb")
    embedding = np.repeat(rows[len(used)][None], VOCABULARY_SIZE, axis=0)
    embedding[used] = rows[: len(used)]
    embedding[list(TRAINED_SPECIALS)] = rows[len(used) + 1 :]
    embedding[FIRST_TIMESTAMP:] = sinusoids(TIMESTAMPS, width) @ projection + bias

    arrays["token_embedding"] = embedding
    arrays["text_positions"] = sinusoids(TEXT_POSITIONS, width) * arrays.pop("alpha")
    arrays["audio_positions"] = sinusoids(AUDIO_POSITIONS, width)
    tokens = tuple(
        TextToken(identifier, bytes.fromhex(content), bytes.fromhex(left))
        for identifier, content, left in meta["tokens"]
    )
    shape = Shape(width, config["h"], config["enc"], config["dec"], alignment_heads=config["h"])
    return Weights(shape, arrays, tokens)
