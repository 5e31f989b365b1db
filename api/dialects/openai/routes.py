"""OpenAI's audio API: transcriptions, translations, models."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import MutableHeaders

from api.dependencies import Caller, Platform, PlatformDep, Principal
from api.dialects import forms
from api.dialects.openai import speakers
from api.dialects.openai.shapes import FORM, OpenAIError, OpenAIErrorBody, answers
from api.dialects.openai.stream import events, languages
from api.dialects.waiting import submit, transcribed
from api.platform_schemas import ModelOut
from api.routes.models import aliased, listed
from api.uploads.receive import Received, RequestFormat
from transcription.errors import InvalidOption, MalformedRequest, leaves
from transcription.formats import CONTENT_TYPES, WRITERS
from transcription.job import Job
from transcription.languages import LANGUAGES
from transcription.models import resolve
from transcription.options import Options, ResponseFormat, Task
from transcription.transcript import Transcript

# What the published API has and what can be left undone without harm: how audio is cut is the platform's business.
IGNORED = ("chunking_strategy",)

# What clients of other Whisper servers, and of OpenAI's other APIs, send along, and what changes nothing for the worse:
# it is let go, and a header says so.
HARMLESS = frozenset(
    (
        "append_punctuations", "batch_size", "best_of", "chunk_length", "clip_timestamps",
        "compression_ratio_threshold", "compute_type", "device", "encode", "extra_body", "extra_headers",
        "fp16", "frequency_penalty",
        "hallucination_silence_threshold", "include", "initial_prompt", "language_detection_segments",
        "language_detection_threshold", "length_penalty", "log_prob_threshold", "log_progress", "logprob_threshold",
        "logprobs", "max_completion_tokens", "max_initial_timestamp", "max_new_tokens", "max_tokens", "metadata",
        "multilingual", "n", "no_repeat_ngram_size", "no_speech_threshold", "output", "patience", "prefix",
        "prepend_punctuations", "presence_penalty", "prompt_reset_on_temperature", "repetition_penalty", "seed",
        "service_tier", "store", "stream_options", "suppress_blank", "suppress_tokens", "timeout", "top_k",
        "top_logprobs", "top_p", "user", "vad_parameters", "verbose", "without_timestamps",
    )
) - set(Options.model_fields)  # fmt: skip
# Whisper takes the end of a prompt, 224 tokens; what comes before it is dropped there, and here.
_PROMPT_LENGTH = 4000

# What OpenAI answers otherwise than our table of statuses: whatever is wrong with a recording or a field is a bad
# request there.
_BAD_REQUEST = {415, 422}
_STATUSES = {"model_not_served": 404}
_CODES = {"model_not_served": "model_not_found"}
_PARAMS = {"invalid_reference": speakers.SAMPLES, "reference_without_speech": speakers.SAMPLES}
_PARAMS |= {"missing_file": "file", "empty_file": "file", "too_many_files": "file", "model_not_served": "model"}
_NAMED = re.compile(r"(?:unknown option '([^']+)'|(\w+): )")
_FIELDS = {*Options.model_fields, *speakers.KNOWN, "stream", "include"}
_BOOL = TypeAdapter(bool)

# OpenAI's clients send again what was answered 409 or 5xx: a job that somebody canceled, or that ends every worker.
_FINAL = frozenset(kind.code for kind in leaves() if not kind.retryable)


@dataclass(slots=True)
class StreamChoice:
    """What a client asked for that is no option of a job."""

    stream: bool = False
    diarized: bool = False
    ignored: tuple[str, ...] = ()


def error_body(
    _state: Mapping[str, Any], problem: dict[str, Any], headers: MutableHeaders
) -> tuple[int, dict[str, Any]]:
    """A problem as OpenAI's error; a header of theirs says where another try would end in the same."""
    code = problem["code"]
    if code in _FINAL:
        headers["x-should-retry"] = "false"
    status = _STATUSES.get(code, 400 if problem["status"] in _BAD_REQUEST else problem["status"])
    named = _NAMED.match(problem["detail"])
    param = _PARAMS.get(code) or (named and (named[1] or named[2]))
    known = param in _FIELDS or code in {"unknown_option", *_PARAMS}
    detail = OpenAIError(
        message=problem["detail"],
        type=_type(status),
        param=param if known else None,
        code="invalid_language_format" if (code, param) == ("invalid_option", "language") else _CODES.get(code, code),
    )
    return status, OpenAIErrorBody(error=detail).model_dump()


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


router = APIRouter(prefix="/v1", tags=["openai"])


async def transcribe(request: Request, platform: Platform, caller: Principal, *, task: Task | None = None) -> Response:
    """Answer a form as OpenAI does; *task* where the path decides it."""
    stream_choice = StreamChoice()
    request_format = RequestFormat(
        options=partial(
            options,
            stream_choice=stream_choice,
            task=task,
            deployment=request.scope.get("state", {}).get("deployment"),
        ),
        ttl_s=platform.settings.api.sync_ttl_s,
    )
    job = await submit(request, platform, tenant=caller.tenant, request_format=request_format)
    if stream_choice.stream:
        write_events = speakers.events if stream_choice.diarized else events
        return StreamingResponse(
            write_events(platform, job), media_type="text/event-stream", headers=_headers(job, stream_choice)
        )
    job, transcript = await transcribed(request, platform, job)
    # Hours take as long to write here as in api/routes/results.py: nobody else shall wait for it.
    answer = await asyncio.to_thread(diarized if stream_choice.diarized else written, job, transcript)
    answer.headers.update(_headers(job, stream_choice))
    return answer


@router.post(
    "/audio/translations",
    operation_id="openai_create_translation",
    summary="Translate a recording into English",
    response_model=None,
    responses=answers(),
    openapi_extra=forms.body("OpenAITranslation", form=FORM, required="file"),
)
async def translations(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """What was said, in English; the answer comes when it is there."""
    return await transcribe(request, platform, caller, task=Task.TRANSLATE)


@router.get(
    "/models/{model_id:path}",
    operation_id="openai_get_model",
    summary="Get a model",
    responses=forms.errors(OpenAIErrorBody, 401, 404, 503),
)
async def model(
    platform: PlatformDep, model_id: Annotated[str, Path(description="A model's name or alias.")]
) -> ModelOut:
    """One model by its name or an alias."""
    offer = await platform.catalogue.offer()
    named = resolve(model_id, default=offer.default, served=offer.served, aliases=offer.aliases)
    models = {found.id: found for found in listed(offer)}
    return models.get(model_id) or aliased(models[named], model_id)


def options(
    received: Received, *, stream_choice: StreamChoice, task: Task | None, deployment: str | None = None
) -> dict[str, object]:
    """
    OpenAI's fields as ours.

    Raises:
        MalformedRequest: something that the published API has and that this platform can't do.
        InvalidOption: `stream` is no yes or no.
    """
    fields = dict(received.fields)
    if deployment:
        fields.setdefault("model", deployment)
    brought = set(fields)
    stream_choice.diarized = speakers.asked(fields)
    unused = set() if stream_choice.diarized else brought & set(speakers.KNOWN)
    fields = {name: value for name, value in fields.items() if _bare(name) not in IGNORED}
    # Without what stands in brackets, which is the client's own and may not fit into a header.
    stream_choice.ignored = tuple(sorted({_bare(name) for name in fields} & HARMLESS | unused))
    fields = {name: value for name, value in fields.items() if _bare(name) not in stream_choice.ignored}
    if isinstance(fields.get("prompt"), str):
        fields["prompt"] = str(fields["prompt"])[-_PROMPT_LENGTH:]
    if stream_choice.diarized and task is Task.TRANSLATE:
        raise MalformedRequest("response_format: a translation can't be diarized")
    stream_choice.stream = flag(fields.pop("stream", False))
    hints = [*_texts(fields.pop("keywords", None)), *_texts(fields.pop("hotwords", None))]
    if hints:
        fields["hotwords"] = ", ".join(hints)
    if task is not None:
        fields["task"] = task.value
    return fields


def written(job: Job, transcript: Transcript) -> Response:
    """The transcript in the job's format, as OpenAI writes it."""
    wanted = job.options.response_format
    headers = _headers(job)
    if wanted is ResponseFormat.TEXT:
        return Response(f"{transcript.text}\n", headers=headers, media_type=CONTENT_TYPES[wanted])
    body = WRITERS[wanted](transcript)
    if isinstance(body, dict):
        # Whole seconds that have begun.
        usage = {"type": "duration", "seconds": math.ceil(round(transcript.duration, 3))}
        shape = _plain(body) if wanted is ResponseFormat.JSON else _verbose(body)
        if job.options.timestamp_granularities == ("word",):
            shape.pop("segments", None)
        return Response(orjson.dumps({**shape, "usage": usage}), headers=headers, media_type="application/json")
    kind = CONTENT_TYPES[ResponseFormat.TEXT if wanted is ResponseFormat.SRT else wanted]
    return Response(body, headers=headers, media_type=kind)


def diarized(job: Job, transcript: Transcript) -> Response:
    """The transcript by speakers."""
    body = orjson.dumps(speakers.written(transcript))
    return Response(body, headers=_headers(job), media_type="application/json")


def _plain(shape: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's JSON has the text and, of its newest model, the languages; what it lacks stands beside them."""
    lacking = {"warnings": shape["warnings"]} if shape["warnings"] else {}
    return {"text": shape["text"], "languages": languages(shape["language"]), **lacking}


def _verbose(shape: dict[str, Any]) -> dict[str, Any]:
    """Words without the space that the model writes before them; a translation's language is the text's there."""
    words = [{**word, "word": word["word"].strip()} for word in shape.get("words", ())]
    text_in = {"language": LANGUAGES["en"]} if shape["task"] == Task.TRANSLATE else {}
    return {**shape, **text_in, **({"words": words} if words else {})}


def _headers(job: Job, choice: StreamChoice | None = None) -> dict[str, str]:
    """Where the native routes know this transcription, and which fields were let go."""
    headers = {"murmur-job": job.id}
    if choice and choice.ignored:
        headers["warning"] = f'299 - "without effect here: {", ".join(choice.ignored)}"'
    return headers


def flag(value: object) -> bool:
    """Whether `stream` is asked for. InvalidOption."""
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        raise InvalidOption(f"stream: must be true or false (got {str(value)[:40]!r})") from None


def _bare(name: str) -> str:
    """A field's name without a key or index in brackets: `metadata[user]` is `metadata`."""
    return name.partition("[")[0]


def _texts(value: object) -> list[str]:
    several = value if isinstance(value, list) else [value]
    return [str(text) for text in several if text not in (None, "")]
