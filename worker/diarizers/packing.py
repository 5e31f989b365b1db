"""What was heard, as bytes that the ledger keeps until speakers are told apart."""

import io

import numpy as np

from transcription.spans import Span
from worker.diarizers.base import Voices

_LEVELS = 127


def pack(voices: Voices) -> bytes:
    """*voices* with whole milliseconds, and vectors in a byte for each number: only their direction counts."""
    largest = np.abs(voices.vectors).max(1, keepdims=True, initial=1e-9)
    file = io.BytesIO()
    np.savez(
        file,
        windows=_edges(voices.windows),
        vectors=np.rint(voices.vectors / largest * _LEVELS).astype(np.int8),
        both=_edges(voices.both),
    )
    return file.getvalue()


def unpack(packed: bytes) -> Voices:
    """What `pack` packed; the vectors are unit vectors again."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as parts:
        vectors = parts["vectors"].astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return Voices(_spans(parts["windows"]), vectors, _spans(parts["both"]))


def _edges(spans: tuple[Span, ...]) -> np.ndarray:
    return np.array([(round(span.start * 1000), round(span.end * 1000)) for span in spans], np.int32).reshape(-1, 2)


def _spans(edges: np.ndarray) -> tuple[Span, ...]:
    return tuple(Span(start / 1000, end / 1000) for start, end in edges.tolist())
