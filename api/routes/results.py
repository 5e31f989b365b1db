"""Results: a job's transcript in the format that the client wants."""

import asyncio
import hashlib
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response

from api.dependencies import Caller, JobId, PlatformDep
from api.jobs.answers import matches, poll_after_s
from api.problems import WithMembers, documented
from api.routes.jobs import IfNoneMatch
from api.schemas import error_out
from api.transcript_schemas import Transcript as TranscriptOut
from api.transcript_schemas import VerboseTranscript, texts
from api.uploads.filenames import content_disposition
from transcription.errors import JobCanceled, JobExpired, JobFailed, ResultNotReady
from transcription.formats import CONTENT_TYPES, EXTENSIONS, WRITERS
from transcription.job import Job, Status
from transcription.options import ResponseFormat
from transcription.result_warning import warning_codes
from transcription.transcript import Transcript

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/result",
    operation_id="get_transcript",
    summary="Get a job's transcript",
    response_model=None,
    responses={
        200: {"model": VerboseTranscript | TranscriptOut, "description": "The transcript.", "content": texts()},
        304: {"description": "Nothing has changed."},
        **documented(404, 409, 410, 422, 503),
    },
)
async def result(
    *,
    platform: PlatformDep,
    caller: Caller,
    job_id: JobId,
    format: Annotated[ResponseFormat | None, Query(description="By default the job's `response_format`.")] = None,  # noqa: A002
    partial: Annotated[bool, Query(description="Give what there is, whatever the job's state.")] = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """
    The transcript as `json`, `verbose_json`, `text`, `srt`, `vtt` or `tsv`.

    Before the job is done: 409 with its status, or with `partial=true` the segments that are there; the header
    `Murmur-Complete` tells which it is. What the result lacks is in its `warnings`, and by code in the header
    `Murmur-Warnings`, whatever the format.
    """
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if job.status is not Status.COMPLETED:
        refuse(job, partial=partial)
    wanted = format or job.options.response_format
    tag = f'"{job.computation}.{wanted.value}{_speakers_tag(job)}{_channels_tag(job)}"'
    headers = {"Murmur-Complete": "false"}
    if job.status is Status.COMPLETED:
        headers = {"Murmur-Complete": "true", "ETag": tag, "Cache-Control": "private, no-cache"}
        if matches(if_none_match, tag):
            return Response(status_code=304, headers=headers)
    transcript = await platform.jobs.transcript(job)
    # A day's transcript with words takes seconds to write, in which nobody else would be answered.
    body = await asyncio.to_thread(_written, transcript, wanted)
    headers |= warning_header(transcript)
    headers["Content-Disposition"] = content_disposition(job.audio.filename, EXTENSIONS[wanted])
    return Response(body, headers=headers, media_type=CONTENT_TYPES[wanted])


def warning_header(transcript: Transcript) -> dict[str, str]:
    """What a transcript lacks, by its codes: a header, because text, SubRip and TSV have no place for it."""
    codes = warning_codes(transcript.warnings)
    return {"Murmur-Warnings": codes} if codes else {}


def _speakers_tag(job: Job) -> str:
    """What else the result depends on where speakers were asked for: who speaks when, and what they are called."""
    if job.diarization is None:
        return ""
    named = hashlib.blake2b(orjson.dumps(job.names), digest_size=6).hexdigest() if job.names else ""
    return f".{job.diarization}.{named}"


def _channels_tag(job: Job) -> str:
    """The same where each channel was transcribed by itself: all of their computations, and their names."""
    if not job.channels:
        return ""
    known = orjson.dumps([(channel.computation, channel.name) for channel in job.channels])
    return f".{hashlib.blake2b(known, digest_size=6).hexdigest()}"


def _written(transcript: Transcript, wanted: ResponseFormat) -> bytes:
    """The transcript in a format, as bytes."""
    written = WRITERS[wanted](transcript)
    return written.encode() if isinstance(written, str) else orjson.dumps(written)


def refuse(job: Job, *, partial: bool = False) -> None:
    """Raise what a job without a whole result answers; return where a part of it will do."""
    if job.status is Status.EXPIRED:
        raise JobExpired.of(job.id)
    if job.status is Status.CANCELED:
        raise WithMembers(JobCanceled(f"job {job.id!r} was canceled"), job_status=job.status)
    if partial:
        return
    error = error_out(job.failure)
    if job.status is Status.FAILED:
        why = f"{error.code}: {error.message}" if error else "no reason is known"
        raise WithMembers(
            JobFailed(f"job {job.id!r} failed: {why}"), job_status=job.status, error=error and error.model_dump()
        )
    raise WithMembers(
        ResultNotReady(
            f"job {job.id!r} is {job.status.value}, {job.progress.fraction:.0%} done; the result isn't there yet"
        ),
        job_status=job.status,
        progress=round(job.progress.fraction, 4),
        retry_after_s=poll_after_s(job),
    )
