"""A row's pass over its window: what of the sound it hears, what came of it, and what it left out."""

from typing import Any

from faster_whisper.transcribe import get_compression_ratio

from transcription.spans import Span
from transcription.transcript import Segment, Word
from worker.engines.row import FRAMES, Attempt, Floats, LanguageRow, Row

SECONDS_PER_FRAME = 0.01

LOST_END = 300
"""
Frames after the last word of a text without timestamps that are heard once more: in speech nobody is silent for that
long, so the model has left something out.
"""


def heard(row: Row | LanguageRow) -> Floats:
    """The frames of this pass."""
    if isinstance(row, LanguageRow):
        # Cut as for the first pass, which takes the encoding over.
        return row.features[:, : min(FRAMES, row.features.shape[-1] - 1)]
    row.size = min(FRAMES, row.frames - row.seek)
    return row.features[:, row.seek : row.seek + row.size]


def unheard_from(row: Row, started: int) -> int | None:
    """The frame from which on a pass that began at *started* has left sound out; None: it went to its end."""
    if row.timed:
        ends = [word["end"] for piece in row.pieces for word in piece.get("words", ())]
        return None if row.ends_whole or not ends else round(ends[-1] / SECONDS_PER_FRAME)
    if not row.pieces or not row.decoding.vad_filter:  # without it silence is sound too
        return None
    end = round(row.pieces[-1]["end"] / SECONDS_PER_FRAME)
    return end if started + row.size - end >= LOST_END else None


def skip(row: Row) -> Row:
    """Leave out the rest of the window, and take note of it."""
    row.skipped.append(Span(row.seek * SECONDS_PER_FRAME, row.frames * SECONDS_PER_FRAME))
    row.seek = row.frames
    return row


def attempt(row: Row, result: Any, temperature: float) -> Attempt:
    """What CTranslate2's *result* is worth."""
    tokens = result.sequences_ids[0]
    text = row.tokenizer.decode(tokens).strip()
    return Attempt(
        tokens=tuple(tokens),
        temperature=temperature,
        avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
        compression_ratio=get_compression_ratio(text),
        no_speech_prob=result.no_speech_prob,
    )


def text_tokens(row: Row) -> list[int]:
    """What was written in this pass, without times."""
    return [token for piece in row.pieces for token in piece["tokens"] if token < row.tokenizer.eot]


def segment(piece: dict[str, Any], text: str, attempt: Attempt) -> Segment:
    """A piece of the attempt as clients get it, with its words if they were asked for."""
    words = piece.get("words")
    return Segment(
        start=piece["start"],
        end=piece["end"],
        text=text,
        tokens=tuple(piece["tokens"]),
        temperature=attempt.temperature,
        avg_logprob=attempt.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.no_speech_prob,
        words=None
        if words is None
        else tuple(Word(word["start"], word["end"], word["word"], float(word["probability"])) for word in words),
        low_confidence=attempt.low_confidence,
    )
