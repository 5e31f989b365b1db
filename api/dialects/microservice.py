"""The Transcription Microservice: transcribe at once or as a job, look jobs up, cancel and delete them."""

import asyncio
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.dependencies import Caller, JobId, Platform, PlatformDep, Principal
from api.dialects import forms
from api.dialects.microservice_shapes import (
    MicroserviceJob,
    MicroserviceJobs,
    MicroserviceSubmitted,
    MicroserviceTranscript,
    Status,
    estimated_s,
    job_out,
    transcript_out,
)
from api.dialects.waiting import submit, transcribed
from api.platform_schemas import LanguageOut, ModelOut, languages_out
from api.problems import documented
from api.routes.jobs import root
from api.routes.models import listed
from api.transcript_schemas import texts
from api.uploads.receive import Received, RequestFormat
from transcription.errors import InvalidOption
from transcription.formats import CONTENT_TYPES, WRITERS
from transcription.job import Job
from transcription.job import Status as JobStatus
from transcription.languages import LANGUAGES
from transcription.options import ResponseFormat
from transcription.transcript import Transcript

router = APIRouter(prefix="/api/v1", tags=["microservice"])

_FORM = {
    "file": forms.FILE,
    **forms.options("language", "model", "temperature", "vad_filter", "prompt"),
    "response_format": {"type": "string", "enum": ["json", "text", "srt", "vtt"], "description": "By default `json`."},
    "timestamp_granularity": {"type": "string", "enum": ["segment", "word"], "description": "By default `segment`."},
}
_REFUSALS = documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
_OURS: dict[Status, JobStatus] = {
    "pending": JobStatus.QUEUED,
    "processing": JobStatus.PROCESSING,
    "completed": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
}


class MicroserviceMessage(BaseModel):
    """What was done."""

    job_id: str
    message: str = Field(examples=["Job deleted"])


class MicroserviceModel(ModelOut):
    """A name that can be asked for."""

    name: str


class MicroserviceModels(BaseModel):
    """The names that can be asked for."""

    models: list[MicroserviceModel]
    default: str


class MicroserviceLanguages(BaseModel):
    """The languages that Whisper knows."""

    languages: list[LanguageOut]
    total: int


class MicroserviceCanceled(MicroserviceJob):
    """A job that was canceled."""

    message: str = Field(examples=["Job canceled"])


@router.post(
    "/transcribe",
    operation_id="microservice_transcribe",
    summary="Transcribe a file (Microservice)",
    response_model=None,
    responses={
        200: {
            "model": MicroserviceTranscript,
            "description": "The transcript in the format that was asked for.",
            "content": texts(ResponseFormat.TEXT, ResponseFormat.SRT, ResponseFormat.VTT),
        },
        **_REFUSALS,
        **documented(410, 504),
    },
    openapi_extra=forms.body("Microservice", form=_FORM, required="file"),
)
async def transcribe(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """Answer when the transcript is there, as `json`, `text`, `srt` or `vtt`."""
    began = time.perf_counter()
    job = await _submit(request, platform, caller, ttl_s=platform.settings.api.sync_ttl_s)
    job, transcript = await transcribed(request, platform, job)
    # Hours take as long to write here as in api/routes/results.py: nobody else shall wait for it.
    return await asyncio.to_thread(_written, job, transcript, processing_time=time.perf_counter() - began)


@router.post(
    "/transcribe-async",
    operation_id="microservice_submit",
    summary="Submit a file (Microservice)",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=forms.body("Microservice", form=_FORM, required="file"),
)
async def transcribe_async(request: Request, platform: PlatformDep, caller: Caller) -> MicroserviceSubmitted:
    """Make a job of the file; its status says when it is done, and has the transcript then."""
    job = await _submit(request, platform, caller)
    workers = (await platform.backlog.now()).workers
    return MicroserviceSubmitted(
        job_id=job.id,
        status="pending",
        message="Transcription job accepted and queued for processing",
        status_url=f"{root(request)}{router.prefix}/status/{job.id}",
        estimated_time=estimated_s(job, workers),
    )


@router.get(
    "/status/{job_id}",
    operation_id="microservice_get_status",
    summary="Get a job (Microservice)",
    response_model=MicroserviceJob,
    responses=documented(401, 403, 404, 429, 503),
)
async def status(platform: PlatformDep, caller: Caller, job_id: JobId) -> MicroserviceJob | Response:
    """The job as it is now, with its transcript once that is there."""
    job = await platform.jobs.get(job_id, tenant=caller.tenant)
    if job.status is not JobStatus.COMPLETED:
        return job_out(job)
    transcript = await platform.jobs.transcript(job)
    body = await asyncio.to_thread(lambda: job_out(job, transcript).model_dump_json())
    return Response(body, media_type="application/json")


@router.get(
    "/jobs",
    operation_id="microservice_list_jobs",
    summary="List jobs (Microservice)",
    responses=documented(400, 401, 403, 422, 429, 503),
)
async def jobs(
    *,
    platform: PlatformDep,
    caller: Caller,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs on a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="From the page before.")] = None,
) -> MicroserviceJobs:
    """The caller's jobs, newest first, without their transcripts."""
    wanted = None if status is None else _OURS[status]
    page = await platform.jobs.list(tenant=caller.tenant, status=wanted, limit=limit, cursor=cursor)
    found = [job_out(job) for job in page.jobs]
    return MicroserviceJobs(jobs=found, total=len(found), cursor=page.cursor)


@router.post(
    "/jobs/{job_id}/cancel",
    operation_id="microservice_cancel_job",
    summary="Cancel a job (Microservice)",
    responses=documented(401, 403, 404, 409, 429, 503),
)
async def cancel(platform: PlatformDep, caller: Caller, job_id: JobId) -> MicroserviceCanceled:
    """Give the job up; one that has ended answers 409."""
    job = await platform.jobs.cancel(job_id, tenant=caller.tenant)
    return MicroserviceCanceled(**job_out(job).model_dump(), message="Job canceled")


@router.delete(
    "/jobs/{job_id}",
    operation_id="microservice_delete_job",
    summary="Delete a job (Microservice)",
    responses=documented(401, 403, 404, 429, 503),
)
async def delete(platform: PlatformDep, caller: Caller, job_id: JobId) -> MicroserviceMessage:
    """Forget the job, and the result and audio that nobody else holds."""
    await platform.submissions.forget(job_id, tenant=caller.tenant)
    return MicroserviceMessage(job_id=job_id, message="Job deleted")


@router.get(
    "/models",
    operation_id="microservice_list_models",
    summary="List models (Microservice)",
    responses=documented(401, 403, 429, 503),
)
async def models(platform: PlatformDep) -> MicroserviceModels:
    """The names that can be asked for, and the platform's own model."""
    offer = await platform.catalogue.offer()
    found = [MicroserviceModel(name=model.id, **model.model_dump()) for model in listed(offer)]
    return MicroserviceModels(models=found, default=offer.default)


@router.get(
    "/languages",
    operation_id="microservice_list_languages",
    summary="List languages (Microservice)",
    responses=documented(),
)
async def languages() -> MicroserviceLanguages:
    """The languages that Whisper knows."""
    return MicroserviceLanguages(languages=languages_out(), total=len(LANGUAGES))


async def _submit(request: Request, platform: Platform, caller: Principal, *, ttl_s: int | None = None) -> Job:
    def options(received: Received) -> dict[str, object]:
        fields = dict(received.fields)
        granularity = fields.pop("timestamp_granularity", None)
        if granularity is not None:
            fields["timestamp_granularities"] = [_granularity(granularity)]
        return fields

    request_format = RequestFormat(options=options, ttl_s=ttl_s)
    return await submit(request, platform, tenant=caller.tenant, request_format=request_format)


def _written(job: Job, transcript: Transcript, *, processing_time: float) -> Response:
    """The transcript in the job's format; *processing_time* in seconds."""
    wanted = job.options.response_format
    if wanted in {ResponseFormat.JSON, ResponseFormat.VERBOSE_JSON}:
        out = transcript_out(job, transcript, processing_time=processing_time)
        return Response(out.model_dump_json(), media_type="application/json")
    return Response(str(WRITERS[wanted](transcript)), media_type=CONTENT_TYPES[wanted])


def _granularity(value: object) -> Literal["word", "segment"]:
    if value == "word":
        return "word"
    if value == "segment":
        return "segment"
    raise InvalidOption(f"timestamp_granularity: must be 'word' or 'segment' (got {str(value)[:40]!r})")
