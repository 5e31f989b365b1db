"""OpenAI's stream of a transcription: events as the windows of a recording are written."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from api.dependencies import Platform
from api.dialects.waiting import completed_or_reason
from transcription.errors import MurmurationError
from transcription.job import Job
from transcription.transcript import Segment

POLL_S = 0.5
HEARTBEAT_S = 15.0


class _Sent:
    """The segments that have gone out. Windows of a long recording may end in any order; each goes out once."""

    def __init__(self) -> None:
        self._seen: set[tuple[float, float, str]] = set()

    def events(self, segments: tuple[Segment, ...]) -> list[dict[str, Any]]:
        """The events of those among *segments* that are new."""
        events: list[dict[str, Any]] = []
        for segment in segments:
            key = (segment.start, segment.end, segment.text)
            if key in self._seen:
                continue
            text = segment.text if self._seen else segment.text.lstrip()
            number = f"seg_{len(self._seen)}"
            self._seen.add(key)
            times = {"start": round(segment.start, 3), "end": round(segment.end, 3)}
            events.append({"type": "transcript.text.delta", "delta": text})
            # No speaker is known; the published type wants the field.
            events.append(
                {"type": "transcript.text.segment", "id": number, **times, "text": segment.text, "speaker": ""}
            )
        return events


async def events(here: Platform, job: Job) -> AsyncIterator[bytes]:
    """
    The transcription of *job* as server-sent events: deltas and segments as they come, then the whole text.

    What goes wrong after the answer has begun is an event with an `error`, which OpenAI's clients raise.
    """
    sent, done_s, spoken_at = _Sent(), 0.0, time.monotonic()
    deadline = spoken_at + here.settings.api.max_sync_s
    try:
        while True:
            job = await here.jobs.wait(job, seconds=POLL_S)
            if job.status.terminal or time.monotonic() > deadline:
                break
            if job.progress.audio_seconds_done > done_s:
                done_s = job.progress.audio_seconds_done
                for event in sent.events((await here.jobs.transcript(job)).segments):
                    yield _line(event)
                    spoken_at = time.monotonic()
            elif time.monotonic() - spoken_at > HEARTBEAT_S:
                yield b": working\n\n"
                spoken_at = time.monotonic()
        transcript = await here.jobs.transcript(completed_or_reason(here, job))
        for event in sent.events(transcript.segments):
            yield _line(event)
        yield _line({"type": "transcript.text.done", "text": transcript.text})
    except MurmurationError as error:
        yield _line({"error": {"message": error.message, "type": "server_error", "param": None, "code": error.code}})


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"
