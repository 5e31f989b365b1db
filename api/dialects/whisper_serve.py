"""Whisper Serve, a Ray service: a file in the field `audio_file`, its text out, and a body of its own for errors."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field

from api.dependencies import Platform
from api.dialects.waiting import transcribed
from transcription.job import Job

FILE_FIELD = "audio_file"
STATUSES = {400, 401, 403, 409, 410, 429, 500, 503}
BEGAN = "whisper_serve_began"


class WhisperServeAnswer(BaseModel):
    """A transcription, or why there is none."""

    success: bool
    text: str
    latency: float = Field(description="Seconds from the request to the answer.", examples=[1.234])
    word_count: int = Field(examples=[42])
    gpu_memory: float = Field(description="Always 0 here: the API holds no model; see the workers' metrics.")
    error: str | None


def begin(request: Request) -> None:
    """Start the clock of `latency`."""
    request.scope["state"][BEGAN] = time.perf_counter()


async def transcribe(request: Request, platform: Platform, job: Job) -> WhisperServeAnswer:
    """Wait for *job*, which came in the field `audio_file`."""
    _, transcript = await transcribed(request, platform, job)
    text = transcript.text
    return _out(request.scope["state"][BEGAN], success=True, text=text, word_count=len(text.split()))


def error_body(state: Mapping[str, Any], problem: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """
    A problem in this dialect's shape: it knows 400 and 500.

    A 503 stays one, for its `Retry-After`, and so does what is no fault of the request: 409 and 410.
    """
    status = problem["status"]
    known = status if status in STATUSES else 500 if status > 500 else 400
    return known, answer_to(state, problem)


def answer_to(state: Mapping[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    """What this dialect's clients read of a *problem*, which may be older than any route's clock."""
    began = state.get(BEGAN, time.perf_counter())
    return _out(began, success=False, error=problem["detail"]).model_dump()


def _out(
    began: float, *, success: bool, text: str = "", word_count: int = 0, error: str | None = None
) -> WhisperServeAnswer:
    return WhisperServeAnswer(
        success=success,
        text=text,
        latency=round(time.perf_counter() - began, 3),
        word_count=word_count,
        gpu_memory=0.0,
        error=error,
    )
