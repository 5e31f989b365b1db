"""Chat completions that carry a recording: read while they come, answered with its transcript."""

from collections.abc import AsyncIterator
from typing import Any

from api.dependencies import Platform
from api.dialects import forms
from api.dialects.openai import routes, stream
from api.uploads.filenames import safe_name
from api.uploads.json_form import JsonForm
from transcription.errors import InvalidOption, MissingFile, MurmurationError
from transcription.job import Job
from transcription.transcript import Segment, Transcript

_KEPT = ("model", "language", "prompt", "hotwords", "vad_filter", "normalize")
_INPUT_AUDIO = [b"input_audio", b"data"]
_MAX_TEMPERATURE = 2

_AUDIO_PART = {
    "type": "object",
    "properties": {
        "type": {"const": "input_audio"},
        "input_audio": {
            "type": "object",
            "properties": {"data": forms.AUDIO, "format": {"type": "string", "examples": ["wav", "mp3"]}},
            "required": ["data"],
        },
    },
}
_TEXT_PART = {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string"},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [_AUDIO_PART, _TEXT_PART]}}]},
    },
}
JSON: dict[str, Any] = {
    "messages": {"type": "array", "items": _MESSAGE, "description": "One `input_audio` part in all of them."},
    "stream": {"type": "boolean", "description": "Answer with chunks as the text comes."},
}


class ChatForm(JsonForm):
    """
    A chat's JSON: the audio stands in a content part `input_audio`, or in `audio` as the transcription's JSON has it.

    What steers a chat has no meaning for a transcript and is let go. So are its texts: a chat's text says what to do,
    while Whisper takes its prompt as what was said before, and goes on in that manner. ``stream``: what was asked for,
    ``with_usage``: whether its last chunk shall say what was used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stream = self.with_usage = False

    def is_audio(self, path: list[bytes | None]) -> bool:
        """Whether the string at *path* is the audio."""
        named = [key for key in path if key is not None]
        return super().is_audio(path) or (named[:1] == [b"messages"] and named[-2:] == _INPUT_AUDIO)

    def is_odd_audio(self, value: object) -> bool:
        """Whether *value*, where the audio was expected, is none; an object says how a spoken answer shall sound."""
        return super().is_odd_audio(value) and not isinstance(value, dict)

    def close(self) -> None:
        """
        Say that the body has ended, and read the options.

        Raises:
            MalformedRequest, BadBase64: see JsonForm.
            MissingFile: no audio in the messages.
            InvalidOption: a temperature that no chat has; `stream` is no yes or no.
        """
        try:
            super().close()
        except MissingFile as error:
            raise MissingFile(
                "no recording in this chat; send a content part "
                '{"type": "input_audio", "input_audio": {"data": "<base64>", "format": "wav"}}, or \'audio\' in base64'
            ) from error
        self.stream = routes.flag(self.fields.get("stream", False))
        stream_options = self.fields.get("stream_options")
        self.with_usage = isinstance(stream_options, dict) and stream_options.get("include_usage") is True
        _check_temperature(self.fields.get("temperature", 0))
        kind = _format(self.fields.get("messages"))
        if kind:
            self.filename = safe_name(f"audio.{kind}")
        self.fields = {name: self.fields[name] for name in _KEPT if name in self.fields} | self.from_query


async def chunks(platform: Platform, job: Job, *, model: str, with_usage: bool) -> AsyncIterator[bytes]:
    """The transcript as OpenAI's `chat.completion.chunk`s, a segment each, as they are written."""
    shape = {**_head(job, model), "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return stream.line({**shape, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    tokens: list[int] = []
    begun = False
    try:
        async for piece in stream.pieces(platform, job):
            if piece is None:
                yield stream.HEARTBEAT
            elif isinstance(piece, Segment):
                yield chunk({"content": piece.text if begun else piece.text.lstrip()})
                begun = True
                tokens += piece.tokens
        yield chunk({}, "stop")
        if with_usage:
            yield stream.line({**shape, "choices": [], "usage": _usage(len(tokens))})
        yield b"data: [DONE]\n\n"
    except MurmurationError as error:
        yield stream.failed(error)


def _head(job: Job, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{job.id}", "created": int(job.created_at), "model": model}


def completion(job: Job, transcript: Transcript, *, model: str) -> dict[str, Any]:
    """The transcript as OpenAI's `chat.completion`."""
    message = {"role": "assistant", "content": transcript.text, "refusal": None}
    return {
        **_head(job, model),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(sum(len(segment.tokens) for segment in transcript.segments)),
    }


def _usage(written: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": written, "total_tokens": written}


def _check_temperature(value: object) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= _MAX_TEMPERATURE:
        raise InvalidOption(f"temperature: must be from 0 to {_MAX_TEMPERATURE} (got {str(value)[:40]!r})")


def _format(messages: object) -> str | None:
    """The format that the part with the audio names."""
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            audio = part.get("input_audio") if isinstance(part, dict) else None
            if isinstance(audio, dict) and isinstance(audio.get("format"), str):
                return str(audio["format"])
    return None
