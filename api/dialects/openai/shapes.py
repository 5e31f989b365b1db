"""What OpenAI's clients send and get, for the document; and the error, as it is written."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.dialects import forms
from api.schemas import WarningOut
from api.transcript_schemas import TEXT, TranscriptSegment, TranscriptWord, texts
from transcription.options import ResponseFormat

FORMAT = "diarized_json"
"""The format by which OpenAI's clients ask who speaks."""


class OpenAIError(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="The field that is wrong.", examples=["temperature"])
    code: str | None = Field(examples=["model_not_found"])


class OpenAIErrorBody(BaseModel):
    """An error as OpenAI's clients know it."""

    error: OpenAIError


class OpenAIUsage(BaseModel):
    """What a transcription is charged by."""

    type: Literal["duration"] = "duration"
    seconds: int = Field(description="Whole seconds that have begun.")


class OpenAILanguage(BaseModel):
    """A language that is spoken."""

    code: str = Field(description="ISO 639-1.", examples=["en"])


class OpenAITranscription(BaseModel):
    """A transcript as `json`."""

    text: str
    languages: list[OpenAILanguage] = Field(description="As asked for, or as detected; none where nothing was said.")
    usage: OpenAIUsage
    warnings: list[WarningOut] | None = Field(None, description="What it lacks, where it lacks something.")


class OpenAIVerboseTranscription(BaseModel):
    """A transcript as `verbose_json`."""

    task: str
    language: str | None = Field(description="Its English name; a translation's is English.", examples=["english"])
    language_probability: float | None
    duration: float = Field(description="Of the recording, in seconds.")
    model: str
    text: str
    segments: list[TranscriptSegment] | None = Field(None, description="Absent where only words were asked for.")
    words: list[TranscriptWord] | None = Field(None, description="Where they were asked for.")
    warnings: list[WarningOut]
    usage: OpenAIUsage


class OpenAIDiarizedSegment(BaseModel):
    """What one speaker says without a break."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str = Field(examples=["seg_0"])
    start: float = Field(description="In seconds.")
    end: float
    text: str
    speaker: str = Field(examples=["A"])


class OpenAIDiarizedTranscription(BaseModel):
    """A transcript as `diarized_json`."""

    task: str
    duration: float = Field(description="Of the recording, in seconds.")
    text: str
    segments: list[OpenAIDiarizedSegment]
    usage: OpenAIUsage
    warnings: list[WarningOut] | None = Field(None, description="What it lacks, where it lacks something.")


FORM = {
    "file": forms.FILE,
    **forms.options("model", "language", "prompt"),
    "response_format": {
        "type": "string",
        "enum": [*(known.value for known in ResponseFormat), FORMAT],
        "description": "Shape of the transcript; `diarized_json` says who speaks.",
    },
    **forms.options("temperature", "timestamp_granularities"),
    "stream": {"type": "boolean", "description": "Answer with server-sent events as the text comes."},
    **forms.options("hotwords", "vad_filter", "languages", "multilingual", "channels", "channel_names"),
    "known_speaker_names": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 4,
        "description": "With `diarized_json`: names of speakers whose voices are known.",
    },
    "known_speaker_references": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 4,
        "description": "For each name a sample of the voice, 2 to 10 s, as a data URL in base64.",
    },
}
ERRORS = forms.errors(OpenAIErrorBody, 400, 401, 403, 404, 408, 409, 410, 413, 429, 503, 504)


def answers(*others: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What a route for transcripts answers; *others*: further shapes of its JSON."""
    json: Any = OpenAIVerboseTranscription | OpenAIDiarizedTranscription | OpenAITranscription
    for other in others:
        json |= other
    return {
        200: {
            "model": json,
            "description": "The transcript in the format that was asked for, or its events.",
            "content": {**texts(), "text/event-stream": TEXT},
        },
        **ERRORS,
    }
