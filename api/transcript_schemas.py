"""What a transcript looks like as JSON. `transcription.formats` writes it; these models only describe it."""

from typing import Any

from pydantic import BaseModel, Field

from api.schemas import WarningOut
from transcription.formats import CONTENT_TYPES
from transcription.options import ResponseFormat


class TranscriptWord(BaseModel):
    """A word; times in seconds."""

    word: str
    start: float
    end: float
    probability: float
    speaker: str | None = Field(None, description="The speaker, if diarization was requested.")
    overlap: bool | None = Field(None, description="Somebody else speaks at the same time.")


class TranscriptSegment(BaseModel):
    """A segment; times in seconds."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    low_confidence: bool = Field(description="The model was unsure: worth a second look.")
    doubtful: bool = Field(description="Old name of `low_confidence`.", deprecated=True)
    words: list[TranscriptWord] | None = None
    speaker: str | None = Field(None, description="The speaker, if diarization was requested.")
    overlap: bool | None = Field(None, description="Somebody else speaks at the same time.")
    language: str | None = Field(None, description="ISO 639-1, if the recording may have several (`multilingual`).")
    channel: int | None = Field(None, description="The channel, from 1 on, with `channels=split`.")
    channel_name: str | None = Field(None, description="Its name, if it was given one.")


class VerboseTranscript(BaseModel):
    """A transcript as `verbose_json`."""

    task: str
    language: str | None = Field(description="Its English name.", examples=["english"])
    language_probability: float | None
    duration: float = Field(description="Of the recording, in seconds.")
    model: str
    text: str
    segments: list[TranscriptSegment]
    warnings: list[WarningOut]
    words: list[TranscriptWord] | None = Field(None, description="Where they were asked for.")


class Transcript(BaseModel):
    """A transcript as `json`."""

    text: str
    language: str | None = Field(description="Its ISO 639 code.", examples=["en"])
    duration: float = Field(description="Of the recording, in seconds.")
    model: str
    warnings: list[WarningOut]


TEXT: dict[str, Any] = {"schema": {"type": "string"}}


def texts(*formats: ResponseFormat) -> dict[str, Any]:
    """The contents of an answer in these *formats* of text; none: in all of them."""
    kinds = [CONTENT_TYPES[form].partition(";")[0] for form in formats or CONTENT_TYPES]
    return {kind: TEXT for kind in kinds if kind != "application/json"}
