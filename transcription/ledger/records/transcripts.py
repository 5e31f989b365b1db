"""What was heard, as the ledger keeps it, and back: segments, transcripts, who speaks when."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson

from transcription.job import Status
from transcription.ledger.records.values import ms, seconds, warnings
from transcription.options import Decoding
from transcription.speakers import Diarized, Turn, attribute
from transcription.transcript import Segment, Transcript, Word, merge

_OF_WORDS = tuple(one.name for one in fields(Word) if one.name not in ("speaker", "overlap"))
_OF_SEGMENTS = tuple(
    one.name
    for one in fields(Segment)
    if one.name not in ("words", "language", "speaker", "overlap", "channel", "channel_name")
)


def windows(written: list[str]) -> tuple[Segment, ...]:
    """The segments of windows as they stand in the ledger."""
    return tuple(segment(raw) for window in written for raw in orjson.loads(window))


def written(segments: Iterable[Segment]) -> str:
    """Segments as the ledger keeps them: whose they are is told when they are read."""
    return orjson.dumps([_unattributed(one) for one in segments]).decode()


def _unattributed(heard: Segment) -> dict[str, Any]:
    raw = {name: getattr(heard, name) for name in _OF_SEGMENTS}
    raw["words"] = heard.words and [{name: getattr(word, name) for name in _OF_WORDS} for word in heard.words]
    if heard.language is not None:  # APIs of earlier versions don't know it
        raw["language"] = heard.language
    return raw


def segment(raw: dict[str, Any]) -> Segment:
    """A segment as orjson wrote it; earlier versions called `low_confidence` `doubtful`."""
    if "doubtful" in raw:
        raw["low_confidence"] = raw.pop("doubtful")
    words = raw.pop("words")
    tokens = tuple(raw.pop("tokens"))
    return Segment(**raw, tokens=tokens, words=words if words is None else tuple(Word(**word) for word in words))


def transcript(
    comp: dict[str, str],
    spans: list[list[str]],
    spoken: Sequence[Turn] = (),
    names: Mapping[str, str] | None = None,
) -> Transcript:
    """
    All that is written of a computation, in the order of time; for each span its windows.

    With the turns in which it was *spoken* every segment and word gets its speaker, by *names* where there are any.
    """
    decoding = Decoding.model_validate_json(comp["decoding"])
    segments = merge(windows(written) for written in spans)
    first = comp.get("language") or decoding.language
    language = _main_language(segments) or first
    probability = comp.get("language_probability") if language == first else None
    return Transcript(
        segments=attribute(segments, spoken, names),
        language=language,
        language_probability=float(probability) if probability else None,
        duration=seconds(comp["duration"]) or 0.0,
        task=decoding.task.value,
        model=comp["model"],
        complete=comp["status"] == Status.COMPLETED,
        warnings=warnings(comp.get("warnings")),
        words=decoding.word_timestamps,
    )


def _main_language(segments: Iterable[Segment]) -> str | None:
    """The language in which most is said, where it was told segment by segment."""
    spoken: Counter[str] = Counter()
    for one in segments:
        if one.language is not None:
            spoken[one.language] += ms(one.end - one.start)
    return max(spoken, key=lambda code: (spoken[code], code)) if spoken else None


def diarized(written: list[str]) -> Diarized:
    """Who speaks when, as the last span of a diarization wrote it; an earlier version wrote turns alone."""
    found = orjson.loads(written[0]) if written else []
    raw: dict[str, Any] = found if isinstance(found, dict) else {"turns": found}
    return Diarized(
        tuple(
            Turn(start / 1000, end / 1000, speaker, overlap=bool(overlap))
            for start, end, speaker, overlap in raw["turns"]
        ),
        tuple(tuple(vector) for vector in raw.get("embeddings", ())),
        raw.get("threshold", 0.0),
    )


def diarized_written(found: Diarized) -> str:
    """
    Who speaks when, as the ledger keeps it.

    Of each turn its start and end in ms, the speaker's number, whether another speaks too; of each speaker's embedding
    its direction, to four places.
    """
    shape = {
        "turns": [(ms(one.start), ms(one.end), one.speaker, int(one.overlap)) for one in found.turns],
        "embeddings": [[round(value, 4) for value in vector] for vector in found.embeddings],
        "threshold": found.threshold,
    }
    return orjson.dumps(shape).decode()
