"""
What routes ask for by type: built once in the lifespan, taken from the application's state.

This is where the web framework ends: what lies behind the routes gets values, never its `Request`.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Request
from starlette.requests import ClientDisconnect

from api.auth.audit import asking
from api.jobs.answers import JobAnswers
from api.jobs.backlog import BacklogView
from api.jobs.catalogue import Catalogue
from api.jobs.machine import Machine
from api.jobs.notifications import Notifications
from api.jobs.submission import SubmissionService
from api.metrics.process import ApiMetrics
from api.uploads.incoming import Incoming
from transcription.access import Principal
from transcription.errors import JobNotFound, UploadIncomplete
from transcription.ports import JobStore
from transcription.settings import Settings

__all__ = ["Caller", "JobId", "NotificationsDep", "Platform", "PlatformDep", "Principal", "act_as", "incoming"]

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
    answers: JobAnswers = field(default_factory=JobAnswers)


async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


async def _notifications(request: Request) -> Notifications:
    notifications: Notifications = request.app.state.notifications
    return notifications


async def _caller(request: Request) -> Principal:
    """The client, as the access middleware identified it."""
    client: Principal = getattr(request.state, "client", Principal())
    return client


def act_as(request: Request, client: Principal) -> None:
    """Replace the client of this request by *client*, from here on: in rate limits, quotas and the audit log."""
    request.state.client = client
    asking.set((client, getattr(request.state, "request_id", "")))


def incoming(request: Request) -> Incoming:
    """What *request* brings; the middleware before the route has said who sends it."""
    state = request.scope.get("state", {})
    return Incoming(
        client=state.get("client", Principal()),
        headers=request.headers,
        query=tuple(request.query_params.multi_items()),
        body=lambda: _chunks(request),
        limit_states=state.get("limit_states", []),
        request_id=state.get("request_id", ""),
        traceparent=state.get("traceparent", ""),
    )


async def _chunks(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise UploadIncomplete("the connection ended before the body did; nothing was kept") from error


async def _job_id(job_id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    # What can't be an id is an unknown one; it never becomes part of a key.
    if len(job_id) > _ID_LIMIT or not job_id.isascii() or not job_id.replace("-", "").isalnum():
        raise JobNotFound(f"no job {job_id[:_ID_LIMIT]!r}")
    return job_id


NotificationsDep = Annotated[Notifications, Depends(_notifications)]
PlatformDep = Annotated[Platform, Depends(_platform)]
Caller = Annotated[Principal, Depends(_caller)]
JobId = Annotated[str, Depends(_job_id)]
