"""OpenAI's transcription by speakers: `gpt-4o-transcribe-diarize`, `diarized_json`, and its stream."""

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from api.dependencies import Platform
from api.dialects.openai.shapes import FORMAT
from api.dialects.openai.stream import HEARTBEAT, HEARTBEAT_S, failed, line, told_at_end
from api.dialects.waiting import completed_or_reason, patiently
from transcription.errors import InvalidOption, MalformedRequest, MurmurationError
from transcription.job import Job
from transcription.options import ResponseFormat
from transcription.transcript import Segment, Transcript

MODEL = "gpt-4o-transcribe-diarize"
NAMES, SAMPLES = KNOWN = ("known_speaker_names", "known_speaker_references")
MOST_KNOWN = 4
_FORMATS = ("json", "text", FORMAT)
_NOT_THERE = ("prompt", "timestamp_granularities", "logprobs")
"""What the published model doesn't take either."""


def asked(fields: dict[str, object]) -> bool:
    """
    Whether *fields*, as a client sent them, ask who speaks; they are then those of a job that says so.

    Raises:
        MalformedRequest: they ask for something else that doesn't go with it, there or here.
    """
    wanted = str(fields.get("response_format") or "").strip()
    known = _known(fields)
    is_model = str(fields.get("model") or "").rpartition("/")[2].startswith(MODEL)
    if not is_model and wanted != FORMAT:
        if known:
            raise MalformedRequest(f"{NAMES}: only with the model {MODEL} or response_format={FORMAT}")
        return False
    if is_model and wanted and wanted not in _FORMATS:
        raise MalformedRequest(f"response_format: {MODEL} gives {', '.join(_FORMATS)} (got {wanted[:40]!r})")
    for name, value in fields.items():
        if name.partition("[")[0] in _NOT_THERE and value not in (None, "", []):
            raise MalformedRequest(f"{name.partition('[')[0]}: it doesn't go with telling speakers apart")
    if _asks_for_probabilities(fields):
        raise MalformedRequest("include: log probabilities don't go with telling speakers apart")
    if wanted != FORMAT:
        return False
    fields["response_format"] = ResponseFormat.VERBOSE_JSON.value
    fields["diarize"] = True
    if known:
        fields["known_speakers"] = known
    return True


def _known(fields: dict[str, object]) -> dict[str, object]:
    """
    Known speakers' samples by their names, taken out of *fields*.

    Raises:
        MalformedRequest: no list of texts.
        InvalidOption: too many, or not as many samples as names, or one name twice.
    """
    names, samples = (_texts(name, fields.pop(name, None)) for name in KNOWN)
    if len(names) > MOST_KNOWN:
        raise InvalidOption(f"{NAMES}: {len(names)} came; the limit is {MOST_KNOWN}")
    if len(names) != len(samples):
        raise InvalidOption(f"{SAMPLES}: {len(samples)} came for {len(names)} {NAMES}; each name needs one")
    if len(set(names)) < len(names):
        raise InvalidOption(f"{NAMES}: one name came twice")
    return dict(zip(names, samples, strict=True))


def _texts(name: str, value: object) -> list[str]:
    several = value if isinstance(value, list) else [value]
    texts = [text for text in several if text is not None]
    if not all(isinstance(text, str) for text in texts):
        raise MalformedRequest(f"{name}: must be a list of texts")
    return [str(text) for text in texts]


def _asks_for_probabilities(fields: Mapping[str, object]) -> bool:
    return any(name.partition("[")[0] == "include" and "logprobs" in str(value) for name, value in fields.items())


def written(transcript: Transcript) -> dict[str, Any]:
    """A transcript as `diarized_json` has it; times in seconds."""
    shape: dict[str, Any] = {
        "task": transcript.task,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [_segment(segment, number) for number, segment in enumerate(transcript.segments)],
        "usage": {"type": "duration", "seconds": math.ceil(round(transcript.duration, 3))},
    }
    warnings = [warning.shape() for warning in transcript.warnings]
    return {**shape, "warnings": warnings} if warnings else shape


async def events(platform: Platform, job: Job) -> AsyncIterator[bytes]:
    """
    The transcription of *job* as server-sent events, when it is known who speaks; until then a heartbeat.

    What goes wrong after the answer has begun is an event with an `error`, which OpenAI's clients raise.
    """
    try:
        spoken_at = time.monotonic()
        following = platform.jobs.follow(job, seconds=platform.settings.api.max_sync_s, quiet_s=HEARTBEAT_S)
        async with aclosing(following) as states:
            async for state in states:
                job = state
                if time.monotonic() - spoken_at >= HEARTBEAT_S:
                    yield HEARTBEAT
                    spoken_at = time.monotonic()
        completed_or_reason(platform, job)
        transcript = await patiently(lambda: platform.jobs.transcript(job), platform)
        for number, segment in enumerate(transcript.segments):
            delta = segment.text if number else segment.text.lstrip()
            yield line({"type": "transcript.text.delta", "delta": delta, "segment_id": _name(number)})
            yield line(_segment(segment, number))
        yield line({"type": "transcript.text.done", "text": transcript.text, **await told_at_end(platform, job)})
    except MurmurationError as error:
        yield failed(error)


def _segment(segment: Segment, number: int) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": _name(number),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "speaker": segment.speaker or "",
    }


def _name(number: int) -> str:
    return f"seg_{number}"
