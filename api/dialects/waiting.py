"""What every dialect does: hand in, and, where its clients expect the text in the answer, wait on the same queue."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

from api.dependencies import Platform, incoming
from api.presence import CLIENT_GONE
from api.uploads.receive import RequestFormat
from transcription.errors import (
    EngineFailed,
    JobCanceled,
    JobExpired,
    MurmurationError,
    ResultNotReady,
    Unavailable,
    leaves,
    outage_endured,
)
from transcription.job import Job, Status
from transcription.ledger.connections.fail_fast import new_patience
from transcription.result_warning import warning_codes
from transcription.transcript import Transcript

CLIENT_CHECK_S = 5.0
"""How often a waiting request checks whether its client is still there."""

OUTAGE_POLL_S = 1.0

Found = TypeVar("Found")

_FAILURES = {kind.code: kind for kind in leaves() if not issubclass(kind, Unavailable)}


async def submit(request: Request, platform: Platform, *, tenant: str, request_format: RequestFormat) -> Job:
    """
    Hand in what *request* brings, as the native route does: the same limits, dedup and figures.

    Raises:
        MurmurationError: what the submission service refuses.
    """
    key = request.headers.get("idempotency-key")
    job, _ = await platform.submissions.submit(
        incoming(request), tenant=tenant, idempotency_key=key, request_format=request_format
    )
    return job


async def transcribed(request: Request, platform: Platform, job: Job) -> tuple[Job, Transcript]:
    """
    Wait for *job*'s completion and give its transcript; other jobs, threads and connections are none the worse for it.

    A client that hangs up leaves its job behind: the same request, sent again after a timeout, finds the
    computation running or done. The result goes when the job's `ttl_s` has passed.

    Raises:
        MurmurationError: why there is no transcript.
        ResultNotReady: it takes longer than `api.max_sync_s`; the job goes on.
    """
    following = platform.jobs.follow(job, seconds=platform.settings.api.max_sync_s, quiet_s=CLIENT_CHECK_S)
    async with aclosing(following) as states:
        async for state in states:
            job = state
            if not job.status.terminal and await request.is_disconnected():
                raise HTTPException(CLIENT_GONE, "the client disconnected; its job continues")
    job = completed_or_reason(platform, job)
    transcript = await patiently(lambda: platform.jobs.transcript(job), platform)
    # Most dialects' shapes have no place for it: every answer says it in a header.
    request.state.warnings = warning_codes(transcript.warnings)
    return job, transcript


async def patiently(read: Callable[[], Awaitable[Found]], platform: Platform) -> Found:
    """What *read* returns; while the ledger is away it is called again, for as long as a request may wait at all."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + platform.settings.api.max_sync_s
    while clock() < deadline:
        new_patience()
        with outage_endured():
            return await read()
        await asyncio.sleep(OUTAGE_POLL_S)
    return await read()


def completed_or_reason(platform: Platform, job: Job) -> Job:
    """*job* if it is completed. Otherwise raises why there is no transcript, ResultNotReady while it goes on."""
    if job.status is Status.COMPLETED:
        return job
    if job.status.terminal:
        raise ended(job)
    raise ResultNotReady(
        f"job {job.id!r} is {job.status.value}, {job.progress.fraction:.0%} done after "
        f"{platform.settings.api.max_sync_s:g} s (MURMUR_API__MAX_SYNC_S) and goes on; "
        "the same request waits for it again"
    )


def ended(job: Job) -> MurmurationError:
    """Why a job that has ended has no transcript, as the error that a client would have had at once."""
    if job.status is Status.CANCELED:
        return JobCanceled(f"job {job.id!r} was canceled")
    if job.status is Status.EXPIRED:
        return JobExpired.of(job.id)
    failure = job.failure
    if failure is None:
        return EngineFailed(f"job {job.id!r} failed; no reason is known")
    return _FAILURES.get(failure.code, EngineFailed)(failure.message)
