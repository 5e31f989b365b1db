"""The ledger's hash of a computation as a claim or a dead letter, and where it was cut as the scripts take it."""

from typing import Any

import orjson

from transcription.computation import Claim, DeadLetter
from transcription.errors import Fault
from transcription.job import Failure
from transcription.ledger.records.values import ms, seconds
from transcription.options import Decoding, Diarization, Priority
from transcription.spans import Piece, Span

SPEAKERS = "speakers"
"""The kind of a computation that says who speaks."""


def claim(fields: dict[str, Any]) -> Claim:
    """What the claim script returns."""
    return Claim(
        computation=fields["computation"],
        index=int(fields["index"]),
        token=int(fields["token"]),
        span=Span(float(fields["start"]) / 1000, float(fields["end"]) / 1000),
        attempt=int(fields["attempt"]),
        windows_done=int(fields["windows"]),
        audio_sha256=fields["sha"],
        filename=fields["filename"],
        model=fields["model"],
        decoding=_decoding(fields),
        diarization=_diarization(fields),
        closing=fields["kind"] == SPEAKERS and int(fields["index"]) > 0 and fields["start"] == fields["end"],
        language=fields["language"] or None,
        speech=stretches(fields["speech"]),
        whole=int(fields["spans"]) == 1,
        suspect=int(fields["suspect"]) == 1,
        alone=int(fields["alone"]) == 1,
        request_id=fields["request"],
        traceparent=fields["trace"],
        faults=int(fields["faults"]),
        faulting_s=float(fields["faulting"]) / 1000,
        revision=fields.get("revision"),
        priority=Priority(fields["class"]),
        waited_s=seconds(fields["waited"]),
        age_s=seconds(fields["age"]),
        job=fields["job"],
        jobs=int(fields["jobs"]),
    )


def dead_letter(died_at: float, comp: dict[str, str], jobs: list[str]) -> DeadLetter:
    """A failed computation as an operator sees it."""
    return DeadLetter(
        computation=comp["id"],
        died_at=died_at,
        failure=failure(comp),
        attempts=int(comp["attempts"]),
        model=comp["model"],
        decoding=_decoding(comp),
        diarization=_diarization(comp),
        audio_sha256=comp["sha"],
        filename=comp["filename"],
        duration_s=seconds(comp["duration"]) or 0.0,
        jobs=tuple(sorted(jobs)),
    )


def failure(comp: dict[str, str], whose: str = "") -> Failure:
    """Why a computation failed; *whose* recording it was, where it was not the job's own."""
    return Failure(
        code=comp.get("error_code", "engine_failed"),
        message=whose + comp.get("error", ""),
        retryable=comp.get("error_retryable") == "1",
        fault=Fault(comp.get("error_fault", Fault.ENGINE)),
    )


def _diarization(fields: dict[str, Any]) -> Diarization | None:
    return Diarization.model_validate_json(fields["decoding"]) if fields.get("kind") == SPEAKERS else None


def _decoding(fields: dict[str, Any]) -> Decoding:
    """How a recording is transcribed; of one in which speakers are told apart, how it is decoded."""
    asked = _diarization(fields)
    if asked is None:
        return Decoding.model_validate_json(fields["decoding"])
    return Decoding(normalize=asked.normalize, audio_track=asked.audio_track, language=asked.language)


def piece(value: Piece) -> tuple[int, int, str]:
    """A span as the prepared script takes it: start, end, and its speech as a flat list of edges, all in ms."""
    edges = [ms(edge) for stretch in value.speech for edge in (stretch.start, stretch.end)]
    return ms(value.span.start), ms(value.span.end), orjson.dumps(edges).decode()


def stretches(speech: str) -> tuple[Span, ...] | None:
    """A span's speech as `piece` wrote it; None before the recording was cut."""
    if not speech:
        return None
    edges = [edge / 1000 for edge in orjson.loads(speech)]
    return tuple(Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))
