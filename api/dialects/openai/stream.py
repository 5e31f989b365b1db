"""OpenAI's stream of a transcription: events in the order of time, as the windows of a recording are written."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson

from api.dependencies import Platform
from api.dialects.waiting import OUTAGE_POLL_S, completed_or_reason, patiently
from api.problems import status_of
from transcription.errors import MurmurationError, outage_endured
from transcription.job import Job
from transcription.ledger.connections.fail_fast import new_patience
from transcription.transcript import Segment

HEARTBEAT_S = 15.0
HEARTBEAT = b": working\n\n"


async def pieces(platform: Platform, job: Job) -> AsyncIterator[Segment | str | None]:
    """
    The segments of *job* in the order of time, each as soon as nothing can come before it; at the end the whole text.

    None now and then while there is nothing to send: a heartbeat is due. An outage of the ledger only delays them.

    Raises:
        MurmurationError: why there is no transcript.
    """
    text, mark, spoken_at = "", (0, 0), time.monotonic()
    following = platform.jobs.follow(job, seconds=platform.settings.api.max_sync_s, quiet_s=HEARTBEAT_S)
    async with aclosing(following) as states:
        async for state in states:
            job = state
            if job.status.terminal:
                completed_or_reason(platform, job)
            more = True
            while more:
                segments = None
                new_patience()
                with outage_endured():
                    segments, mark = await platform.jobs.written(job, mark)
                for segment in segments or ():
                    yield segment
                    text, spoken_at = text + segment.text, time.monotonic()
                if time.monotonic() - spoken_at >= HEARTBEAT_S:
                    yield None
                    spoken_at = time.monotonic()
                away = segments is None and job.status.terminal
                if away:  # nothing more will change: this is the last chance to read
                    await asyncio.sleep(OUTAGE_POLL_S)
                more = away or bool(segments)
    completed_or_reason(platform, job)
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
                yield line({"type": "transcript.text.done", "text": piece, **await told_at_end(platform, job)})
    except MurmurationError as error:
        yield failed(error)


async def told_at_end(platform: Platform, job: Job) -> dict[str, Any]:
    """The language, and what the transcript lacks, where it lacks anything."""
    done = await patiently(lambda: platform.jobs.get(job.id, tenant=job.tenant), platform)
    lacking = {"warnings": [warning.shape() for warning in done.warnings]} if done.warnings else {}
    return {"languages": languages(done.language), **lacking}


def languages(code: str | None) -> list[dict[str, str]]:
    """The language of a transcript, as `gpt-transcribe` tells it: none where nothing was said."""
    return [{"code": code}] if code else []


def _segment(segment: Segment, number: int) -> dict[str, Any]:
    times = {"start": round(segment.start, 3), "end": round(segment.end, 3)}
    return {"type": "transcript.text.segment", "id": f"seg_{number}", **times, "text": segment.text}


def failed(error: MurmurationError) -> bytes:
    """The event that OpenAI's clients raise as an error; its type is that of the same error without a stream."""
    kind = "server_error" if status_of(error) >= 500 else "invalid_request_error"
    return line({"error": {"message": error.message, "type": kind, "param": None, "code": error.code}})


def line(event: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(event) + b"\n\n"
