"""Decoding: the options that can change a transcript, and with them the words that clients have for their values."""

import operator
import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from transcription.languages import code_of

_DETECT = frozenset({"", "auto", "null", "none", "undefined", "detect", "und"})
_QUOTES = " \t\r\n[]()'\""


def is_none(value: object) -> bool:
    """Whether an option isn't set."""
    return value is None


def is_mix(value: object) -> bool:
    """Whether channels are heard as one."""
    return value == "mix"


def _detects(value: object) -> bool:
    return value is None or str(value).strip().lower() in _DETECT


def _code(value: object) -> str:
    code = code_of(str(value))
    if code is None:
        raise ValueError(
            f"'{str(value)[:40]}' is no language that Whisper knows, by its ISO 639 code, as 'de', 'deu' or "
            "'de-CH', or its English name; 'auto' detects it"
        )
    return code


def listed(value: object) -> list[object]:
    """What a client sent as a list: in JSON, a field for each, or one with commas, any of them with brackets."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    words = [part for one in values for part in (one.split(",") if isinstance(one, str) else (one,))]
    words = [word.strip(_QUOTES) if isinstance(word, str) else word for word in words]
    return [word for word in words if word not in (None, "")]


class Task(StrEnum):
    """What the model writes: the words that were spoken, or their English translation."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Segmentation(StrEnum):
    """Where the bounds of segments come from."""

    AUTO = "auto"
    TIMESTAMPS = "timestamps"
    WORDS = "words"


def _is_auto(value: object) -> bool:
    return value == Segmentation.AUTO


class Decoding(BaseModel):
    """The options that can change the transcript; with the audio and the model they name a computation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str | None = Field(
        None, description="An ISO 639 code, a tag as `en-US`, or an English name; `auto` or nothing: detect it."
    )
    task: Task = Field(Task.TRANSCRIBE, description="`transcribe`, or `translate` into English.")
    temperature: float = Field(
        0.0, ge=0, le=1, description="Sampling temperature; 0 falls back to higher ones when quality is poor."
    )
    prompt: Annotated[str, StringConstraints(max_length=4000)] | None = Field(
        None, description="Text that the model takes as having come before."
    )
    hotwords: Annotated[str, StringConstraints(max_length=4000)] | None = Field(
        None, description="Words and names to listen for."
    )
    vad_filter: bool = Field(True, description="Skip what isn't speech.")
    word_timestamps: bool = Field(False, description="Add the times of every word.")
    beam_size: int = Field(5, ge=1, le=10, description="Beams in the search; 1 is greedy.")
    condition_on_previous_text: bool = Field(
        False, description="Let each window see the text before it: windows then go one after the other."
    )
    # Not written where it isn't asked for: what was computed before there was this option keeps its fingerprint.
    normalize: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Make the recording as loud as it can be first, by 40 dB at most: for very quiet ones.",
    )

    segmentation: Segmentation = Field(
        Segmentation.AUTO,
        exclude_if=_is_auto,
        description="Where segments begin and end: at `timestamps` that the model writes, or cut from `words` by "
        "sentences and pauses, which is faster on a GPU; `auto`: what the worker is faster with.",
    )

    fast_short: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Encode a recording of less than 30 s in its own length, not as 30 s: faster, and riskier with "
        "models that weren't trained for it. What comes out improbable or repetitive is done again in full.",
    )
    audio_track: Annotated[str, StringConstraints(max_length=40)] | None = Field(
        None,
        exclude_if=is_none,
        description="Which audio track of several: its number from 1 on, or the language that it is tagged with; "
        "nothing: the one in `language`, else the default one, else the first.",
    )
    languages: tuple[str, ...] = Field(
        (),
        exclude_if=operator.not_,
        description="The languages that may be spoken, as `de,en`: the language is detected among these alone.",
    )
    multilingual: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Detect the language again for every window of speech (30 s): segments get a `language`. With "
        "`language` that one is assumed until another is heard.",
    )

    channels: Annotated[str, StringConstraints(pattern=r"^(mix|split(:[1-9][0-9]?)?)$")] = Field(
        "mix", exclude_if=is_mix, description="Those that are computed as one; `split:2`: the second by itself."
    )

    @property
    def channel(self) -> int | None:
        """The channel that is transcribed, from 1 on; None: all of them, as one."""
        number = self.channels.partition(":")[2]
        return int(number) if number else None

    @property
    def possible_languages(self) -> tuple[str, ...]:
        """The languages that may come up; empty: any."""
        if self.multilingual or self.language is None:
            return self.languages
        return (self.language,)

    @model_validator(mode="before")
    @classmethod
    def _only_language(cls, fields: object) -> object:
        """One language that may be spoken is the one that is: both ways to say it share a computation."""
        if not isinstance(fields, dict) or fields.get("multilingual") or not _detects(fields.get("language")):
            return fields
        codes = {code_of(str(word)) for word in listed(fields.get("languages")) if not _detects(word)}
        if len(codes) != 1 or None in codes:
            return fields
        return {**fields, "language": codes.pop(), "languages": ()}

    @field_validator("language", mode="before")
    @classmethod
    def _known_language(cls, value: object) -> object:
        return None if _detects(value) else _code(value)

    @field_validator("languages", mode="before")
    @classmethod
    def _known_languages(cls, value: object) -> object:
        return tuple(sorted({_code(word) for word in listed(value) if not _detects(word)}))

    @model_validator(mode="after")
    def _language_is_possible(self) -> Self:
        if self.language is not None and self.languages and self.language not in self.languages:
            raise ValueError(
                f"languages: {self.language!r}, the language, isn't among them ({', '.join(self.languages)})"
            )
        return self

    @field_validator("audio_track", mode="before")
    @classmethod
    def _track(cls, value: object) -> object:
        if value is None or str(value).strip().lower() in ("", "null", "none", "auto"):
            return None
        word = str(value).strip()
        if isinstance(value, bool) or word == "0" or not (word.isascii() and word.isdigit()):
            code = None if isinstance(value, bool) else code_of(word)
            if code is None and not re.fullmatch(r"[A-Za-z]{2,8}", word):
                raise ValueError("must be a track's number from 1 on, or a language")
            return code or word.lower()
        return str(int(word))

    @field_validator("channels", mode="before")
    @classmethod
    def _in_small_letters(cls, value: object) -> object:
        return "mix" if value in (None, "") else value.strip().lower() if isinstance(value, str) else value

    @field_validator("prompt", "hotwords", mode="before")
    @classmethod
    def _blank_is_none(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value
