"""What every dialect does: hand in, and, where its clients expect the text in the answer, wait on the same queue."""

import asyncio
import time
import uuid

from fastapi import Request
from starlette.exceptions import HTTPException

from api.dependencies import Platform
from api.uploads.incoming import incoming
from api.uploads.receive import RequestFormat
from transcription.errors import (
    EngineFailed,
    JobCanceled,
    JobExpired,
    MurmurationError,
    ResultNotReady,
    Unavailable,
    leaves,
)
from transcription.job import Job, Status

POLL_INTERVAL_S = 5.0
CLIENT_GONE = 499

_FAILURES = {kind.code: kind for kind in leaves() if not issubclass(kind, Unavailable)}


async def submit(request: Request, platform: Platform, *, tenant: str, request_format: RequestFormat) -> Job:
    """
    Hand in what *request* brings, as the native route does: the same limits, dedup and figures.

    Raises:
        MurmurationError: what the submission service refuses.
    """
    began = time.perf_counter()
    key = request.headers.get("idempotency-key")
    try:
        job, outcome = await platform.submissions.submit(
            incoming(request),
            job_id=uuid.uuid4().hex,
            tenant=tenant,
            idempotency_key=key,
            request_format=request_format,
        )
    except MurmurationError as error:
        platform.meters.refused(error.code)
        raise
    platform.meters.submitted(outcome, audio_bytes=job.audio.bytes, seconds=time.perf_counter() - began)
    return job


async def completed(request: Request, platform: Platform, job: Job) -> Job:
    """
    Wait for *job*'s completion; other jobs, threads and connections are none the worse for it.

    A client that hangs up leaves its ticket behind: the same request, sent again after a timeout, finds the
    computation running or done. The result goes when the ticket's `ttl_s` has passed.

    Raises:
        MurmurationError: why there is no transcript.
        ResultNotReady: it takes longer than `api.max_sync_s`; the job goes on.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + platform.settings.api.max_sync_s
    while not job.status.terminal:
        left = deadline - loop.time()
        if left <= 0:
            break
        job = await platform.jobs.wait(job, seconds=min(POLL_INTERVAL_S, left))
        if not job.status.terminal and await request.is_disconnected():
            raise HTTPException(CLIENT_GONE, "the client went away; its job goes on")
    return completed_or_reason(platform, job)


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
        return JobExpired(f"the result of job {job.id!r} was kept until its time had passed; submit the audio again")
    failure = job.failure
    if failure is None:
        return EngineFailed(f"job {job.id!r} failed; no reason is known")
    return _FAILURES.get(failure.code, EngineFailed)(failure.message)
