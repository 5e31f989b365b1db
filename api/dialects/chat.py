"""Chat completions that carry a recording: read while they come, answered with its transcript."""

from typing import Any

from api.dialects import forms
from api.filenames import safe_name
from api.json_form import JsonForm
from transcription.errors import InvalidOption, MalformedRequest, MissingFile
from transcription.job import Job
from transcription.transcript import Transcript

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
    "messages": {"type": "array", "items": _MESSAGE, "description": "One `input_audio` part in all of them."}
}


class ChatForm(JsonForm):
    """
    A chat's JSON: the audio stands in a content part `input_audio`, or in `audio` as the transcription's JSON has it.

    Texts and what steers a chat have no meaning for a transcript: they are read and let go.
    """

    def is_audio(self, path: list[bytes | None]) -> bool:
        """Whether the string at *path* is the audio."""
        named = [key for key in path if key is not None]
        return super().is_audio(path) or (named[:1] == [b"messages"] and named[-2:] == _INPUT_AUDIO)

    def close(self) -> None:
        """
        Say that the body has ended, and read the options.

        Raises:
            MalformedRequest, BadBase64: see JsonForm.
            MissingFile: no audio in the messages.
            MalformedRequest: a stream is asked for.
            InvalidOption: a temperature that no chat has.
        """
        try:
            super().close()
        except MissingFile as error:
            raise MissingFile(
                "no recording in this chat; send a content part "
                '{"type": "input_audio", "input_audio": {"data": "<base64>", "format": "wav"}}, or \'audio\' in base64'
            ) from error
        if self.fields.get("stream"):
            raise MalformedRequest("stream: a chat's answer comes as a whole; /v1/audio/transcriptions can stream")
        _check_temperature(self.fields.get("temperature", 0))
        kind = _format(self.fields.get("messages"))
        if kind:
            self.filename = safe_name(f"audio.{kind}")
        self.fields = {name: self.fields[name] for name in _KEPT if name in self.fields}


def completion(job: Job, transcript: Transcript, *, model: str) -> dict[str, Any]:
    """The transcript as OpenAI's `chat.completion`."""
    written = sum(len(segment.tokens) for segment in transcript.segments)
    message = {"role": "assistant", "content": transcript.text, "refusal": None}
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion",
        "created": int(job.created_at),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": written, "total_tokens": written},
    }


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
