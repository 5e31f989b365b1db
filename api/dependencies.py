"""What routes ask for by type: built once in the lifespan, taken from the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from api.auth.quotas import caller
from api.jobs.backlog import BacklogView
from api.jobs.catalogue import Catalogue
from api.jobs.machine import Machine
from api.jobs.submission import SubmissionService
from api.metrics.process import ApiMetrics
from transcription.access import Principal
from transcription.errors import JobNotFound
from transcription.ports import JobStore
from transcription.settings import Settings

__all__ = ["Caller", "JobId", "Platform", "PlatformDep", "Principal"]

_ID_LIMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Everything that one API process works with."""

    settings: Settings
    jobs: JobStore
    submissions: SubmissionService
    backlog: BacklogView
    machine: Machine
    catalogue: Catalogue
    meters: ApiMetrics


async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


async def _caller(request: Request) -> Principal:
    """The client, as the access middleware identified it."""
    return caller(request)


async def _job_id(job_id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    # What can't be an id is an unknown one; it never becomes part of a key.
    if len(job_id) > _ID_LIMIT or not job_id.isascii() or not job_id.replace("-", "").isalnum():
        raise JobNotFound(f"no job {job_id[:_ID_LIMIT]!r}")
    return job_id


PlatformDep = Annotated[Platform, Depends(_platform)]
Caller = Annotated[Principal, Depends(_caller)]
JobId = Annotated[str, Depends(_job_id)]
