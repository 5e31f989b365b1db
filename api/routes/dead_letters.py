"""Dead letters, for an operator: computations that failed though trying again might help."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from api.dependencies import PlatformDep
from api.problems import documented
from api.schemas import ErrorOut, rfc3339
from transcription.computation import DeadLetter
from transcription.errors import DeadLetterNotFound, WorkerLost, advice
from transcription.options import Decoding

router = APIRouter(prefix="/admin/dead", tags=["admin"])

_ID_LIMIT = 64


class DeadAudioOut(BaseModel):
    """The recording."""

    sha256: str
    duration_s: float
    filename: str = Field(description="As the first job called it.")


class DeadOut(BaseModel):
    """A dead letter."""

    computation: str = Field(examples=["b0a53ee09e2b4d5bb3d1a4c1c4b2a5f0"])
    died_at: datetime
    error: ErrorOut
    advice: str = Field(description="What to do about it.", examples=[WorkerLost.advice])
    attempts: int = Field(description="Attempts at the span that took the most.", examples=[3])
    model: str
    options: Decoding = Field(description="What a retry will compute with.")
    audio: DeadAudioOut
    jobs: list[str] = Field(description="Jobs that a retry brings back to the queue.")


class DeadLettersOut(BaseModel):
    """The dead letters, the latest first; a thousand at most."""

    dead_letters: list[DeadOut]


async def _computation(computation: Annotated[str, Path(description="The dead letter's `computation`.")]) -> str:
    # What can't be a name never becomes part of a key.
    if len(computation) > _ID_LIMIT or not (computation.isascii() and computation.isalnum()):
        raise DeadLetterNotFound(f"no dead letter {computation[:_ID_LIMIT]!r}")
    return computation


Computation = Annotated[str, Depends(_computation)]


@router.get("", operation_id="list_dead_letters", summary="List dead letters", responses=documented(503))
async def list_dead(platform: PlatformDep) -> DeadLettersOut:
    """What waits for an operator."""
    return DeadLettersOut(dead_letters=[_out(letter) for letter in await platform.jobs.dead_letters()])


@router.get(
    "/{computation}", operation_id="get_dead_letter", summary="Get a dead letter", responses=documented(404, 503)
)
async def show_dead(platform: PlatformDep, computation: Computation) -> DeadOut:
    """One dead letter."""
    return _out(await platform.jobs.dead_letter(computation))


@router.post(
    "/{computation}/retry",
    operation_id="retry_dead_letter",
    summary="Retry a dead letter",
    status_code=204,
    responses=documented(404, 503),
)
async def retry_dead(platform: PlatformDep, computation: Computation) -> None:
    """Put it back into the queue, with every option of its jobs; what was written of it stays written."""
    letter = await platform.jobs.dead_letter(computation)
    await platform.jobs.retry(computation)
    platform.submissions.hints.send(
        platform.settings.lane(letter.model, languages=() if letter.diarization else letter.decoding.possible_languages)
    )


@router.delete(
    "/{computation}",
    operation_id="drop_dead_letter",
    summary="Drop a dead letter",
    status_code=204,
    responses=documented(404, 503),
)
async def drop_dead(platform: PlatformDep, computation: Computation) -> None:
    """Take it off the list; its jobs stay failed."""
    await platform.jobs.drop(computation)


def _out(letter: DeadLetter) -> DeadOut:
    return DeadOut(
        advice=advice(letter.failure.code),
        computation=letter.computation,
        died_at=rfc3339(letter.died_at),
        error=ErrorOut(code=letter.failure.code, message=letter.failure.message, retryable=letter.failure.retryable),
        attempts=letter.attempts,
        model=letter.model,
        options=letter.decoding,
        audio=DeadAudioOut(
            sha256=letter.audio_sha256, duration_s=round(letter.duration_s, 3), filename=letter.filename
        ),
        jobs=list(letter.jobs),
    )
