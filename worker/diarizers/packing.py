"""What was heard, as bytes that the ledger keeps until speakers are told apart."""

import io

import numpy as np

from transcription.spans import Span
from transcription.speakers import Diarized, Turn
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


def pack_diarized(found: Diarized) -> bytes:
    """What an engine found in a whole recording, as bytes; times in whole milliseconds."""
    file = io.BytesIO()
    turns = [(round(1000 * one.start), round(1000 * one.end), one.speaker, one.overlap) for one in found.turns]
    np.savez(
        file,
        turns=np.array(turns, np.int64).reshape(-1, 4),
        embeddings=np.array(found.embeddings, np.float32).reshape(len(found.embeddings), -1),
        threshold=np.float64(found.threshold),
    )
    return file.getvalue()


def unpack_diarized(packed: bytes) -> Diarized:
    """What `pack_diarized` packed."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as parts:
        return Diarized(
            tuple(
                Turn(start / 1000, end / 1000, speaker, overlap=bool(overlap))
                for start, end, speaker, overlap in parts["turns"].tolist()
            ),
            tuple(map(tuple, parts["embeddings"].tolist())),
            float(parts["threshold"]),
        )


def _edges(spans: tuple[Span, ...]) -> np.ndarray:
    return np.array([(round(span.start * 1000), round(span.end * 1000)) for span in spans], np.int32).reshape(-1, 2)


def _spans(edges: np.ndarray) -> tuple[Span, ...]:
    return tuple(Span(start / 1000, end / 1000) for start, end in edges.tolist())
