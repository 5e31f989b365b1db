"""The OpenAI-like server that takes JSON: audio as base64 in JSON on OpenAI's own paths, and a look at a file."""

import time
from dataclasses import dataclass
from typing import Literal

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api.dependencies import Caller, Platform, PlatformDep, Principal, incoming
from api.dialects import forms
from api.dialects.containers import format_of
from api.dialects.openai import chat
from api.dialects.openai import shapes as openai_shapes
from api.dialects.waiting import submit, transcribed
from api.transcript_schemas import TEXT
from api.uploads.form import Form
from api.uploads.json_form import JsonForm
from api.uploads.receive import Received, RequestFormat
from transcription.job import Job
from transcription.transcript import Transcript

router = APIRouter(tags=["openai server"])

JSON = {
    "audio": forms.AUDIO,
    **forms.options("model", "language", "prompt", "temperature", "hotwords", "vad_filter", "normalize"),
    "filename": {"type": "string", "description": "What the recording is called."},
}


class OpenAIServerTranscription(BaseModel):
    """A transcription as this server's clients know it."""

    text: str
    processing_time: float = Field(description="Seconds from the request to the answer.", examples=[1.2])
    model: str = Field(description="As it was asked for.", examples=["whisper-1"])
    format: str = Field(description="The container that came.", examples=["m4a"])


class ChatMessage(BaseModel):
    """The transcript as an assistant's message."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """The only choice."""

    index: int
    message: ChatMessage
    logprobs: None
    finish_reason: Literal["stop"]


class ChatUsage(BaseModel):
    """Tokens that the model wrote."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(OpenAIServerTranscription):
    """A transcript as a chat completion, and as this server's transcription."""

    id: str
    created: int = Field(description="In seconds since 1970.")
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: ChatUsage


class AudioInfo(BaseModel):
    """What a file is, by its content."""

    format: str = Field(examples=["wav"])
    container: str = Field(description="FFmpeg's name of it.", examples=["wav"])
    codec: str = Field(examples=["pcm_s16le"])
    sample_rate: int = Field(description="In Hz.", examples=[16_000])
    channels: int = Field(examples=[1])
    duration: float = Field(description="In seconds; 0 where the container doesn't say.", examples=[3.2])
    size_bytes: int = Field(examples=[102_444])


@dataclass(slots=True)
class AudioSeen:
    """What was seen of the audio while it came, and when that was."""

    began: float
    format: str = "unknown"


async def transcribe(request: Request, platform: Platform, caller: Principal) -> OpenAIServerTranscription:
    """Answer JSON with base64 in it."""
    job, seen, _ = await _submitted(request, platform, caller, JsonForm)
    return _out(*await transcribed(request, platform, job), seen)


@router.post(
    "/v1/chat/completions",
    operation_id="openai_server_create_chat_completion",
    summary="Transcribe a recording sent as a chat message",
    response_model=None,
    responses={
        200: {
            "model": ChatCompletion,
            "description": "The completion, or its chunks.",
            "content": {"text/event-stream": TEXT},
        },
        **openai_shapes.ERRORS,
    },
    openapi_extra=forms.body("ChatCompletion", json={**JSON, **chat.JSON}, required="model"),
)
async def chat_completions(request: Request, platform: PlatformDep, caller: Caller) -> Response:
    """The transcript of the one recording in the messages (`input_audio`), or in `audio`, as a chat completion."""
    job, seen, form = await _submitted(request, platform, caller, chat.ChatForm)
    if isinstance(form, chat.ChatForm) and form.stream:
        model = job.options.model or job.model
        chunks = chat.chunks(platform, job, model=model, with_usage=form.with_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")
    job, transcript = await transcribed(request, platform, job)
    out = _out(job, transcript, seen)
    answer = chat.completion(job, transcript, model=out.model) | out.model_dump()
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post(
    "/debug/audio-info",
    operation_id="openai_server_audio_info",
    summary="Describe a file without transcribing it",
    responses=openai_shapes.ERRORS,
    openapi_extra=forms.body("AudioInfo", json=JSON, form={"file": forms.FILE}, required="audio"),
)
async def audio_info(request: Request, platform: PlatformDep, caller: Caller) -> AudioInfo:
    """Describe a recording by its content; nothing of it is kept."""
    del caller  # whoever may not submit may not probe either
    async with platform.submissions.probed(incoming(request)) as (received, found):
        first = found.streams[0]
        return AudioInfo(
            format=format_of(received.head),
            container=found.container,
            codec=first.codec,
            sample_rate=first.sample_rate,
            channels=first.channels,
            duration=round(found.duration_s, 3),
            size_bytes=received.upload.size,
        )


async def _submitted(
    request: Request, platform: Platform, caller: Principal, form: type[JsonForm]
) -> tuple[Job, AudioSeen, Form | None]:
    seen = AudioSeen(time.perf_counter())

    def options(received: Received) -> dict[str, object]:
        seen.format = format_of(received.head)
        return received.fields

    request_format = RequestFormat(options=options, json_form=form, ttl_s=platform.settings.api.sync_ttl_s)
    job = await submit(request, platform, tenant=caller.tenant, request_format=request_format)
    return job, seen, request_format.form


def _out(job: Job, transcript: Transcript, seen: AudioSeen) -> OpenAIServerTranscription:
    return OpenAIServerTranscription(
        text=transcript.text,
        processing_time=round(time.perf_counter() - seen.began, 3),
        model=job.options.model or job.model,
        format=seen.format,
    )
