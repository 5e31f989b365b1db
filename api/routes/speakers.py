"""Speakers: give those that were told apart their names."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Body, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field, StringConstraints
from starlette.types import Message, Receive

from api.dependencies import Caller, JobId, PlatformDep
from api.problems import documented
from api.routes.jobs import root
from api.schemas import JobOut, job_out
from transcription.errors import InvalidOption, ResultNotReady
from transcription.job import Status
from transcription.options import MOST_SPEAKERS

MOST_BYTES = 64 * 1024
"""Of a body; `MOST_SPEAKERS` names, with each character escaped, have less."""


class LimitedRoute(APIRoute):
    """
    A route that refuses a body of more than `MOST_BYTES` while it comes.

    The framework's own limit answers a declared length with plain text, in place of the problem.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which reads through the limit."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _at_most(MOST_BYTES, request.receive)))

        return limited


def _at_most(limit: int, receive: Receive) -> Receive:
    size = 0

    async def receive_within() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            # Of the framework's kind: it takes any other for a body that can't be read, a 400.
            raise HTTPException(413, f"the body has {size} bytes or more; the limit is {limit}")
        return message

    return receive_within


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=LimitedRoute)

Label = Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,3}$")]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", strip_whitespace=True)]
Names = Annotated[
    dict[Label, Name],
    Field(min_length=1, max_length=MOST_SPEAKERS),
    Body(
        description="A name for each label that is to have one; an empty one takes a name back.",
        examples=[{"A": "Anna", "B": "Bob"}],
    ),
]


@router.patch(
    "/{job_id}/speakers",
    operation_id="name_speakers",
    summary="Name a job's speakers",
    responses=documented(400, 404, 409, 413, 422, 503),
)
async def name_speakers(
    *, request: Request, platform: PlatformDep, caller: Caller, job_id: JobId, names: Names
) -> JobOut:
    """
    Give speakers names, which then stand in every format of the result instead of `A`, `B` and so on.

    Those that aren't named here keep what they are called. The names are the job's own: others that share its
    computation don't see them.
    """
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if job.diarization is None:
        raise InvalidOption(f"speakers: job {job.id!r} wasn't asked who speaks (diarize=true)")
    if job.status is not Status.COMPLETED:
        raise ResultNotReady(f"job {job.id!r} is {job.status.value}; its speakers can be named when it is completed")
    transcript = await platform.jobs.transcript(replace(job, names=(), references=()))
    known = {segment.speaker for segment in transcript.segments if segment.speaker is not None}
    unknown = sorted(set(names) - known)
    if unknown:
        raise InvalidOption(
            f"speakers: nobody is called {', '.join(unknown)}; there are {', '.join(sorted(known)) or 'none'}"
        )
    job = await platform.jobs.rename(job_id, names, tenant=caller.tenant)
    structlog.contextvars.bind_contextvars(job_id=job.id)
    return job_out(job, root=root(request))
