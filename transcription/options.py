"""Options of a job: one model, validated once, shared by all routes."""

import hashlib
import json
import operator
import re
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from transcription.decoding import Decoding, Segmentation, Task, is_mix, is_none, listed
from transcription.errors import InvalidOption, UnknownOption

__all__ = [
    "Decoding",
    "Diarization",
    "Options",
    "Priority",
    "ResponseFormat",
    "Segmentation",
    "Task",
    "fingerprint",
    "parse_options",
]

SHORTEST_TTL_S = 60
"""The shortest time for which a result is kept."""

_LIST_MARKS = re.compile(r"[\s,\[\]()'\"]+")


class Priority(StrEnum):
    """Class of service. Interactive spans are claimed before any batch span."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class ResponseFormat(StrEnum):
    """Shapes in which a transcript can be had."""

    JSON = "json"
    VERBOSE_JSON = "verbose_json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"


MOST_SPEAKERS = 50
MOST_KNOWN = 10
MOST_NAMES = 99
SHORTEST_SAMPLE_S, LONGEST_SAMPLE_S = 2.0, 10.0
"""Length of a sample of a known speaker's voice."""

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", strip_whitespace=True)
]


class Diarization(BaseModel):
    """The options that can change who speaks when; with the audio and the diarizer they name a computation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    normalize: bool = False
    audio_track: str | None = None
    language: str | None = None  # it may say which track is heard
    # A sample of a known speaker's voice: it must hold speech. Not written where it is none, as in earlier versions.
    reference: bool = Field(False, exclude_if=operator.not_)


class Options(Decoding):
    """Everything a client can ask of a job."""

    channels: Literal["mix", "split"] = Field(
        "mix",
        exclude_if=is_mix,
        description="`mix`: all channels as one. `split`: each by itself, as of a call with a speaker on each; "
        "segments get a `channel`.",
    )
    channel_names: tuple[Name, ...] = Field(
        (),
        max_length=MOST_NAMES,
        exclude_if=operator.not_,
        description="What the channels are called, beginning with the first, as `agent,customer`; with "
        "`channels=split`.",
    )
    model: str | None = Field(None, max_length=200, description="Model name or alias; nothing: the platform's default.")
    response_format: ResponseFormat = Field(
        ResponseFormat.JSON, description="Format that the result route gives by default."
    )
    priority: Priority = Field(Priority.INTERACTIVE, description="`interactive` runs before `batch`.")
    webhook_url: str | None = Field(None, max_length=2000, description="URL that is notified when the job ends.")
    deadline_s: int | None = Field(
        None,
        ge=1,
        le=30 * 86400,
        exclude_if=is_none,
        description="Seconds after which an unfinished job fails with `deadline_exceeded`; nothing: its priority's.",
    )
    cache: Literal["on", "off"] = Field(
        "on",
        exclude_if=lambda value: value == "on",
        description="`off`: compute it anew though there is a result; what is being computed is still joined.",
    )
    ttl_s: int | None = Field(
        None, ge=SHORTEST_TTL_S, le=30 * 86400, description="How long the result is kept once it is there, in seconds."
    )
    timestamp_granularities: tuple[Literal["segment", "word"], ...] = Field(
        (), description="`word` is the same as `word_timestamps=true`."
    )

    diarize: bool = Field(
        False, exclude_if=operator.not_, description="Find out who speaks: every segment and word gets a `speaker`."
    )
    num_speakers: int | None = Field(
        None, ge=1, le=MOST_SPEAKERS, exclude_if=is_none, description="How many people speak, if known."
    )
    min_speakers: int | None = Field(
        None, ge=1, le=MOST_SPEAKERS, exclude_if=is_none, description="So many people speak at least."
    )
    max_speakers: int | None = Field(
        None, ge=1, le=MOST_SPEAKERS, exclude_if=is_none, description="So many people speak at most."
    )

    known_speakers: tuple[Name, ...] = Field(
        (),
        max_length=MOST_KNOWN,
        exclude_if=operator.not_,
        description="Speakers of whose voices samples came: who sounds like one of them is called by that name.",
    )

    @field_validator("channel_names", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(listed(value))

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        if self.channel_names and self.channels != "split":
            raise ValueError("channel_names: needs channels=split")
        if len(set(self.channel_names)) < len(self.channel_names):
            raise ValueError(f"channel_names: {', '.join(self.channel_names)}: each channel needs a name of its own")
        if self.diarize and self.channels == "split":
            raise ValueError("diarize: with channels=split the channels say who speaks; ask for one of the two")
        return self

    @model_validator(mode="after")
    def _speakers_agree(self) -> "Options":
        counts = {name: getattr(self, name) for name in ("num_speakers", "min_speakers", "max_speakers")}
        given = [name for name, value in counts.items() if value is not None]
        if given and not self.diarize:
            raise ValueError(f"{given[0]}: needs diarize=true")
        if self.num_speakers is not None and len(given) > 1:
            raise ValueError(f"num_speakers is the exact number; {given[1]} can't be given as well")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError(f"min_speakers: {self.min_speakers} is more than max_speakers, {self.max_speakers}")
        known, most = len(self.known_speakers), self.num_speakers or self.max_speakers
        if known and not self.diarize:
            raise ValueError("known_speakers: needs diarize=true")
        if len(set(self.known_speakers)) < known:
            raise ValueError("known_speakers: one name is there twice")
        if most is not None and known > most:
            raise ValueError(f"known_speakers: {known} speakers are known, but {most} may speak at most")
        return self

    @field_validator("webhook_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ValueError("must begin with http:// or https://, name a host, and hold no password")
        return value

    @field_validator("timestamp_granularities", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        # Clients send a list in many ways: one word, words with commas, JSON, or Python's way to write a list.
        values = value if isinstance(value, (list, tuple)) else (value,)
        words = [word for one in values for word in (_LIST_MARKS.split(one) if isinstance(one, str) else (one,))]
        return tuple(dict.fromkeys(word.lower() if isinstance(word, str) else word for word in words if word != ""))

    def decoding(self) -> Decoding:
        """The part of these options that can change the transcript."""
        values = {name: getattr(self, name) for name in Decoding.model_fields}
        values["word_timestamps"] = self.word_timestamps or "word" in self.timestamp_granularities
        if self.language is not None and not self.multilingual:
            values["languages"] = ()  # there is nothing to detect
        return Decoding(**values)

    def decodings(self, channels: int) -> tuple[Decoding, ...]:
        """What is computed of a recording with so many *channels*: one for all of them, or one for each."""
        decoding = self.decoding()
        if self.channels != "split":
            return (decoding,)
        return tuple(decoding.model_copy(update={"channels": f"split:{n}"}) for n in range(1, channels + 1))

    def diarization(self) -> Diarization | None:
        """The part of these options that can change who speaks when; None where nobody asked for that."""
        if not self.diarize:
            return None
        return Diarization(**{name: getattr(self, name) for name in Diarization.model_fields if name != "reference"})


def parse_options(fields: dict[str, object]) -> Options:
    """
    Validate the *fields* that a client sent.

    Raises:
        UnknownOption: a field that no option has; the message names it and the ones there are.
        InvalidOption: a value of the wrong type or out of range; the message names both.
    """
    try:
        return Options.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    unknown = sorted(str(p["loc"][0])[:80] for p in problems if p["type"] == "extra_forbidden")
    if unknown:
        known = ", ".join(sorted(Options.model_fields))
        raise UnknownOption(f"unknown option {', '.join(map(repr, unknown))}; the options are {known}")
    message = "; ".join(map(_explained, problems))
    raise InvalidOption(message)


def _explained(problem: ErrorDetails) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    # What two options come to together has no place of its own.
    return f"{problem['loc'][0]}: {said} (got {_short(problem['input'])})" if problem["loc"] else said


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fingerprint(audio_sha256: str, model: str, revision: str, decoding: Decoding | Diarization) -> str:
    """
    Name the computation of *decoding* by *model*, or by a diarizer, over one recording.

    Returns:
        64 hexadecimal digits, the same for every request that must have the same transcript.
    """
    parts = {"audio": audio_sha256, "model": model, "revision": revision, **decoding.model_dump(mode="json")}
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
