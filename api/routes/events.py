"""A job's events as they happen: server-sent events, after https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from api.dependencies import Caller, JobId, NotificationsDep, PlatformDep
from api.problems import documented
from api.transcript_schemas import TEXT
from transcription.errors import JobExpired
from transcription.job import Status
from transcription.ports import Event

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

HEARTBEAT_S = 15.0
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_RETRY = b"retry: 1000\n\n"
_STREAM: dict[str, Any] = {"text/event-stream": TEXT}

LastEventId = Annotated[str | None, Header(description="Go on after this event; a browser sends it by itself.")]


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    response_class=StreamingResponse,
    response_model=None,
    responses={
        200: {"description": "Events until the job's end.", "content": _STREAM},
        204: {"description": "The job has ended, and `Last-Event-ID` names its last event."},
        **documented(400, 404, 410, 422, 503),
    },
)
async def events(
    *,
    platform: PlatformDep,
    notifications: NotificationsDep,
    caller: Caller,
    job_id: JobId,
    last_event_id: LastEventId = None,
    after: Annotated[
        str | None, Query(alias="last_event_id", description="The same, for those who can't set headers.")
    ] = None,
) -> Response:
    """
    What has happened and what happens: `status`, `progress`, `segment`, `warning`, and at the end `done` or `failed`
    (after `error`, its old name, for one more version).

    Every event has an id: whoever comes back with the last one goes on there, with nothing lost or doubled. Segments
    of a long recording come in the order in which they were written; their times tell where they belong.
    """
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if job.status is Status.EXPIRED:
        raise JobExpired.of(job.id)
    events = notifications.events.events(job, after=last_event_id or after, quiet_s=HEARTBEAT_S)
    try:
        first = await anext(events)
    except StopAsyncIteration:
        # What keeps a browser from coming back for ever.
        return Response(status_code=204)
    return StreamingResponse(_written(first, events), headers=_HEADERS, media_type="text/event-stream")


async def _written(first: Event | None, events: AsyncGenerator[Event | None, None]) -> AsyncIterator[bytes]:
    yield _RETRY + _line(first)
    async with aclosing(events):
        async for event in events:
            yield _line(event)


def _line(event: Event | None) -> bytes:
    if event is None:
        return b": still here\n\n"
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), orjson.dumps(event.data))
