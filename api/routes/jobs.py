"""Jobs: hand in, look up, wait, cancel, forget."""

import re
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request, Response

from api.dependencies import Caller, JobId, Platform, PlatformDep, incoming
from api.jobs.answers import matches
from api.openapi import SUBMISSION
from api.presence import while_connected
from api.problems import documented
from api.schemas import JobOut, JobsOut, jobs_out
from transcription.job import Job, Outcome, Status

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)

Wait = Annotated[
    float | None,
    Query(ge=0, description="Hold the answer until the job has ended, or for so many seconds (60 at most)."),
]
IdempotencyKey = Annotated[
    str | None, Header(description="The same key with the same payload gives the same job, for a day.")
]
Prefer = Annotated[str | None, Header(description="`wait=N`: hold the answer until the job has ended, N ≤ 60 s.")]
IfNoneMatch = Annotated[str | None, Header(description="The `ETag` of an earlier answer.")]


@router.post(
    "",
    operation_id="submit_job",
    summary="Submit a recording",
    status_code=202,
    response_model=None,
    openapi_extra=SUBMISSION,
    responses={
        200: {"model": JobOut, "description": "The result was there already, or came while the answer was held."},
        202: {"model": JobOut, "description": "Accepted, and durable."},
        **documented(400, 408, 413, 415, 422, 503),
    },
)
async def submit(
    request: Request,
    platform: PlatformDep,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """
    Take a recording and its options, and make a job of them.

    Identical work is done once: a second job on the same audio and options joins the first one's computation, or is
    answered from its result at once (`cached`, status 200).
    """
    job, outcome = await platform.submissions.submit(
        incoming(request), tenant=caller.tenant, idempotency_key=idempotency_key
    )
    headers = {}
    asked = _PREFER_WAIT.search(prefer or "")
    if asked:
        seconds = min(float(asked[1]), platform.settings.api.max_wait_s)
        headers["Preference-Applied"] = f"wait={seconds:g}"
        job = await while_connected(request, platform.jobs.wait(job, seconds=seconds))
    if outcome is Outcome.REPEATED:
        headers["Idempotent-Replayed"] = "true"
    return _answer(request, platform, job, status=200 if job.status.terminal else 202, **headers)


@router.get("", operation_id="list_jobs", summary="List jobs", responses=documented(400, 422, 503))
async def list_jobs(
    *,
    request: Request,
    platform: PlatformDep,
    caller: Caller,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs on a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="From the page before.")] = None,
) -> JobsOut:
    """The caller's jobs, newest first."""
    page = await platform.jobs.list(tenant=caller.tenant, status=status, limit=limit, cursor=cursor)
    return jobs_out(page, root=root(request))


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    response_model=None,
    responses={200: {"model": JobOut}, 304: {"description": "Nothing has changed."}, **documented(404, 422, 503)},
)
async def look_up(
    *,
    request: Request,
    platform: PlatformDep,
    caller: Caller,
    job_id: JobId,
    wait: Wait = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The job as it is now, or at its end when `wait` is given."""
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if wait and not job.status.terminal:
        waiting = platform.jobs.wait(job, seconds=min(wait, platform.settings.api.max_wait_s))
        job = await while_connected(request, waiting)
    return _answer(request, platform, job, status=200, if_none_match=if_none_match)


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=None,
    responses={200: {"model": JobOut}, **documented(404, 409, 503)},
)
async def cancel(request: Request, platform: PlatformDep, caller: Caller, job_id: JobId) -> Response:
    """Give up the job: at once while it waits, within seconds while it runs. A finished one answers 409."""
    job = await platform.jobs.cancel(job_id, tenant=caller.tenant)
    structlog.contextvars.bind_contextvars(job_id=job.id)
    return _answer(request, platform, job, status=200)


@router.delete(
    "/{job_id}", operation_id="delete_job", summary="Delete a job", status_code=204, responses=documented(404, 503)
)
async def forget(platform: PlatformDep, caller: Caller, job_id: JobId) -> None:
    """Delete the job, and the result and audio that nobody else holds."""
    await platform.submissions.forget(job_id, tenant=caller.tenant)
    structlog.contextvars.bind_contextvars(job_id=job_id)


def _answer(
    request: Request, platform: Platform, job: Job, *, status: int, if_none_match: str | None = None, **headers: str
) -> Response:
    answer = platform.answers.of(job, root=root(request))
    unchanged = matches(if_none_match, answer.tag)
    response = Response(None if unchanged else answer.body, 304 if unchanged else status)
    response.raw_headers = [*(answer.unchanged if unchanged else answer.headers)]
    if request.method == "POST":
        response.headers["Location"] = f"{root(request)}/v1/jobs/{job.id}"
    for name, value in headers.items():
        response.headers[name] = value
    return response


def root(request: Request) -> str:
    """The path under which the API stands behind a proxy."""
    return str(request.scope.get("root_path", ""))
