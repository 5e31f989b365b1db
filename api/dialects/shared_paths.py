"""
The two paths on which two dialects meet, and what tells them apart.

- `POST /v1/audio/transcriptions`: a form is OpenAI's, JSON is the OpenAI server's. Errors are OpenAI's for both.
- `POST /transcribe`: the file in the field `audio_file` is Whisper Serve's and answered when it is done; in the field
  `file` it is Production Scale's and answered at once. Who is refused before either came gets a problem, which has
  what Whisper Serve's clients read too.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import MutableHeaders

from api.dependencies import Caller, PlatformDep
from api.dialects import forms, openai_server, production_scale, whisper_serve
from api.dialects.openai import routes as openai_routes
from api.dialects.openai import shapes as openai_shapes
from api.dialects.waiting import submit
from api.problems import documented
from api.schemas import job_out
from api.uploads.receive import Received, RequestFormat

router = APIRouter()


def _either(refusals: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Refusals as problems, or with Whisper Serve's body."""
    whisper_serve_body = {"application/json": {"schema": {"$ref": "#/components/schemas/WhisperServeAnswer"}}}
    known = whisper_serve.STATUSES
    return {
        status: {**response, "content": {**response["content"], **whisper_serve_body}} if status in known else response
        for status, response in refusals.items()
    }


@router.post(
    "/v1/audio/transcriptions",
    operation_id="openai_create_transcription",
    summary="Transcribe a recording",
    tags=["openai", "openai server"],
    response_model=None,
    responses=openai_shapes.answers(openai_server.OpenAIServerTranscription),
    openapi_extra=forms.body("OpenAITranscription", form=openai_shapes.FORM, json=openai_server.JSON, required="file"),
)
async def transcriptions(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """OpenAI's transcriptions, answered when done. JSON with `audio` in base64 is the OpenAI server's."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return await openai_routes.transcribe(request, platform, caller)
    out = await openai_server.transcribe(request, platform, caller)
    return Response(out.model_dump_json(), media_type="application/json")


def error_body(
    state: Mapping[str, Any], problem: dict[str, Any], _headers: MutableHeaders
) -> tuple[int, dict[str, Any]] | None:
    """Whisper Serve's body for a form with its field; before a field was seen, a problem that has its members too."""
    request_format = state.get("request_format")
    field = request_format and request_format.file_field
    if field == whisper_serve.FILE_FIELD:
        return whisper_serve.error_body(state, problem)
    return None if field else (problem["status"], problem | whisper_serve.answer_to(state, problem))


@router.post(
    "/transcribe",
    operation_id="production_scale_transcribe",
    summary="Transcribe a file (Production Scale, Whisper Serve)",
    tags=["production scale", "whisper serve"],
    response_model=None,
    responses={
        200: {"model": whisper_serve.WhisperServeAnswer, "description": "Whisper Serve: the transcript."},
        202: {"model": production_scale.ProductionScaleSubmitted, "description": "Production Scale: the job."},
        **_either(documented(400, 401, 403, 408, 409, 410, 413, 415, 422, 429, 503)),
    },
    openapi_extra=forms.body(
        "ProductionScale",
        form={
            "file": {**forms.FILE, "description": "Production Scale: a job is made of it."},
            "audio_file": {**forms.FILE, "description": "Whisper Serve: the answer has its transcript."},
            **forms.options("vad_filter", "language", "model"),
        },
        required="",
    ),
)
async def transcribe(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """A file in `file` becomes a job; one in `audio_file` is answered with its text."""
    whisper_serve.begin(request)

    def options(received: Received) -> dict[str, object]:
        if request_format.file_field == whisper_serve.FILE_FIELD:
            request_format.ttl_s = platform.settings.api.sync_ttl_s
        return received.fields

    request_format = request.state.request_format = RequestFormat(
        file_fields=("file", whisper_serve.FILE_FIELD), options=options
    )
    job = await submit(request, platform, tenant=caller.tenant, request_format=request_format)
    if request_format.file_field == whisper_serve.FILE_FIELD:
        done = await whisper_serve.transcribe(request, platform, job)
        return Response(done.model_dump_json(), media_type="application/json")
    body = production_scale.submitted(job).model_dump_json()
    return Response(body, 202, headers={"Location": job_out(job).urls.self}, media_type="application/json")
