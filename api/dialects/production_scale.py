"""Production Scale, a job service: submit, poll, retrieve."""

import asyncio
from typing import Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.dependencies import Caller, JobId, PlatformDep
from api.dialects.waiting import completed_or_reason
from api.problems import documented
from api.routes.results import refuse
from api.schemas import JobOut, job_out
from api.transcript_schemas import VerboseTranscript
from api.uploads.filenames import content_disposition
from transcription.formats import EXTENSIONS, as_verbose_json
from transcription.job import Job
from transcription.options import ResponseFormat
from transcription.transcript import Transcript

router = APIRouter(tags=["production scale"])


class ProductionScaleSubmitted(BaseModel):
    """A job was accepted."""

    job_id: str = Field(examples=["3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1"])
    status: Literal["queued"] = Field(description="Always this value; ask the status route for the job's progress.")
    message: str = Field(examples=["Transcription job submitted successfully"])


class ProductionScaleJob(JobOut):
    """A job: what the native route says, and the names that this dialect's clients know."""

    job_id: str


class ProductionScaleTranscript(VerboseTranscript):
    """A transcript; `language` is its code here."""

    job_id: str
    status: Literal["completed"]
    processing_time: float | None = Field(description="Seconds of computing.")
    cached: bool


def submitted(job: Job) -> ProductionScaleSubmitted:
    """What a submit answers."""
    return ProductionScaleSubmitted(job_id=job.id, status="queued", message="Transcription job submitted successfully")


@router.get(
    "/status/{job_id}",
    operation_id="production_scale_get_status",
    summary="Get a job (Production Scale)",
    responses=documented(401, 403, 404, 429, 503),
)
async def status(platform: PlatformDep, caller: Caller, job_id: JobId) -> ProductionScaleJob:
    """The job as it is now."""
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    return ProductionScaleJob(job_id=job.id, **job_out(job).model_dump())


@router.get(
    "/result/{job_id}",
    operation_id="production_scale_get_result",
    summary="Get a job's transcript (Production Scale)",
    response_model=None,
    responses={
        200: {"model": ProductionScaleTranscript, "description": "The transcript."},
        **documented(401, 403, 404, 409, 410, 422, 429, 503),
    },
)
async def result(platform: PlatformDep, caller: Caller, job_id: JobId) -> Response:
    """Text, language, duration and segments; 409 while they aren't there."""
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if not job.status.terminal:
        refuse(job)
    job = completed_or_reason(platform, job)
    transcript = await platform.jobs.transcript(job)
    name = content_disposition(job.audio.filename, EXTENSIONS[ResponseFormat.JSON])
    # Hours take as long to write here as in api/routes/results.py: nobody else shall wait for it.
    body = await asyncio.to_thread(_written, job, transcript)
    return Response(body, headers={"Content-Disposition": name}, media_type="application/json")


def _written(job: Job, transcript: Transcript) -> bytes:
    own = {
        "job_id": job.id,
        "status": job.status.value,
        "language": transcript.language,
        "processing_time": job.compute_s,
        "cached": job.cached,
    }
    return orjson.dumps(as_verbose_json(transcript) | own)
