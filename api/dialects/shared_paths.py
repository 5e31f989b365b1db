"""
The two paths on which two dialects meet, and what tells them apart.

- `POST /v1/audio/transcriptions`: a form is OpenAI's, JSON is seed 1's. Errors are OpenAI's for both.
- `POST /transcribe`: the file in the field `audio_file` is seed 3's and answered when it is done; in the field
  `file` it is seed 2's and answered at once. A request with neither gets a problem.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import MutableHeaders

from api.dependencies import Caller, PlatformDep
from api.dialects import forms, openai, openai_server, production_scale, whisper_serve
from api.dialects.waiting import submit
from api.problems import documented
from api.schemas import job_out
from api.uploads.receive import Received, RequestFormat

router = APIRouter()


def _either(refusals: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Refusals as problems, or with seed 3's body."""
    theirs = {"application/json": {"schema": {"$ref": "#/components/schemas/TranscribedOut"}}}
    known = whisper_serve.STATUSES
    return {
        status: {**said, "content": {**said["content"], **theirs}} if status in known else said
        for status, said in refusals.items()
    }


@router.post(
    "/v1/audio/transcriptions",
    summary="Transcribe a recording",
    tags=["openai", "seed 1"],
    response_model=None,
    responses=openai.ANSWERS,
    openapi_extra=forms.body(form=openai.FORM, json=openai_server.JSON, required="file"),
)
async def transcriptions(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """OpenAI's transcriptions: the answer comes when it is there. JSON with `audio` in base64 is seed 1's."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return await openai.transcribe(request, platform, caller)
    out = await openai_server.transcribe(request, platform, caller)
    return Response(out.model_dump_json(), media_type="application/json")


def error_body(
    state: Mapping[str, Any], problem: dict[str, Any], _headers: MutableHeaders
) -> tuple[int, dict[str, Any]] | None:
    """Seed 3's body for a form with its field; a problem for every other request."""
    request_format = state.get("request_format")
    if request_format is None or request_format.file_field != whisper_serve.FILE_FIELD:
        return None
    return whisper_serve.error_body(state, problem)


@router.post(
    "/transcribe",
    summary="Transcribe a file (seeds 2 and 3)",
    tags=["seed 2", "seed 3"],
    response_model=None,
    responses={
        200: {"model": whisper_serve.TranscribedOut, "description": "Seed 3: the transcript."},
        202: {"model": production_scale.SubmittedOut, "description": "Seed 2: the job."},
        **_either(documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)),
    },
    openapi_extra=forms.body(
        form={
            "file": {**forms.FILE, "description": "Seed 2: a job is made of it."},
            "audio_file": {**forms.FILE, "description": "Seed 3: the answer has its transcript."},
            **forms.options("vad_filter", "language", "model"),
        },
        required="",
    ),
)
async def transcribe(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """A file in `file` becomes a job; one in `audio_file` is answered with its text."""
    whisper_serve.begin(request)

    def options(received: Received) -> dict[str, object]:
        waits = request_format.file_field == whisper_serve.FILE_FIELD
        return {"ttl_s": platform.settings.api.sync_ttl_s, **received.fields} if waits else received.fields

    request_format = request.state.request_format = RequestFormat(
        file_fields=("file", whisper_serve.FILE_FIELD), options=options
    )
    job = await submit(request, platform, tenant=caller.tenant, request_format=request_format)
    if request_format.file_field == whisper_serve.FILE_FIELD:
        done = await whisper_serve.transcribe(request, platform, job)
        return Response(done.model_dump_json(), media_type="application/json")
    body = production_scale.submitted(job).model_dump_json()
    return Response(body, 202, headers={"Location": job_out(job).urls.self}, media_type="application/json")
