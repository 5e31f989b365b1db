"""OpenAI's stream of a transcription: events in the order of time, as the windows of a recording are written."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from api.dependencies import Platform
from api.dialects.waiting import completed_or_reason
from api.problems import status_of
from transcription.errors import MurmurationError, outage_endured
from transcription.job import Job
from transcription.transcript import Segment

POLL_INTERVAL_S = 0.5
HEARTBEAT_S = 15.0
HEARTBEAT = b": working\n\n"


async def pieces(platform: Platform, job: Job) -> AsyncIterator[Segment | str | None]:
    """
    The segments of *job* in the order of time, each as soon as nothing can come before it; at the end the whole text.

    None now and then while there is nothing to send: a heartbeat is due. An outage of the ledger only delays them.

    Raises:
        MurmurationError: why there is no transcript.
    """
    jobs, mark, text, spoken_at = platform.jobs, (0, 0), "", time.monotonic()
    deadline = spoken_at + platform.settings.api.max_sync_s
    while True:
        job = await jobs.wait(job, seconds=POLL_INTERVAL_S)
        if job.status.terminal or time.monotonic() > deadline:
            completed_or_reason(platform, job)
        ended, segments = job.status.terminal, None
        with outage_endured():
            segments, mark = await jobs.written(job, mark)
        for segment in segments or ():
            yield segment
            text, spoken_at = text + segment.text, time.monotonic()
        if ended and segments == ():
            break
        if time.monotonic() - spoken_at > HEARTBEAT_S:
            yield None
            spoken_at = time.monotonic()
    yield text.strip()


async def events(platform: Platform, job: Job) -> AsyncIterator[bytes]:
    """
    The transcription of *job* as server-sent events: deltas and segments as they come, then the whole text.

    What goes wrong after the answer has begun is an event with an `error`, which OpenAI's clients raise.
    """
    number = 0
    try:
        async for piece in pieces(platform, job):
            if piece is None:
                yield HEARTBEAT
            elif isinstance(piece, Segment):
                yield line({"type": "transcript.text.delta", "delta": piece.text if number else piece.text.lstrip()})
                yield line(_segment(piece, number))
                number += 1
            else:
                yield line({"type": "transcript.text.done", "text": piece, **await _lacking(platform, job)})
    except MurmurationError as error:
        yield failed(error)


async def _lacking(platform: Platform, job: Job) -> dict[str, Any]:
    """What the transcript lacks, where it lacks anything."""
    with outage_endured():
        warnings = (await platform.jobs.get(job.id, tenant=job.tenant)).warnings
        return {"warnings": [warning.shape() for warning in warnings]} if warnings else {}
    return {}


def _segment(segment: Segment, number: int) -> dict[str, Any]:
    times = {"start": round(segment.start, 3), "end": round(segment.end, 3)}
    # No speaker is known; the published type wants the field.
    return {"type": "transcript.text.segment", "id": f"seg_{number}", **times, "text": segment.text, "speaker": ""}


def failed(error: MurmurationError) -> bytes:
    """The event that OpenAI's clients raise as an error; its type is that of the same error without a stream."""
    kind = "server_error" if status_of(error) >= 500 else "invalid_request_error"
    return line({"error": {"message": error.message, "type": kind, "param": None, "code": error.code}})


def line(event: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(event) + b"\n\n"
