"""The three bodies that bring audio, as parsers without any I/O: bytes in, audio bytes out, options kept."""

import re
from collections.abc import Iterable
from typing import get_origin

from api.uploads.filenames import safe_name
from transcription.errors import MalformedRequest
from transcription.options import Options

MAX_FIELDS = 64
MAX_FIELDS_BYTES = 64 * 1024
SAMPLES = ("known_speakers", "known_speaker_references")
"""Fields that bring sound as text: they have a limit of their own."""

MAX_SAMPLES_BYTES = 12 << 20
# What a body may have besides the audio: boundaries, headers, fields, a preamble.
OVERHEAD_BYTES = 256 * 1024

_LISTS = {name for name, field in Options.model_fields.items() if get_origin(field.annotation) is tuple}
_INDEX = re.compile(r"\[\d{0,3}\]$")
_SPEAKER = re.compile(r"known_speakers\[(.{1,200})\]", re.DOTALL)
_SPEAKER_LISTS = ("known_speaker_names", "known_speaker_references")
_NAME = re.compile(r"[\x20-\x7e]{1,200}")


class Form:
    """
    A body on its way in. The raw body is the simplest one: every byte is audio, the options are in the query.

    ``fields`` holds the options as they came; ``filename`` the name of the audio; ``url`` where audio should be
    fetched from instead; ``file_field`` the form's field that brought the audio, or should have.
    """

    def __init__(self, filename: str | None = None) -> None:
        self.fields: dict[str, object] = {}
        self.filename = safe_name(filename)
        self.url: str | None = None
        self.file_field = ""

    def body_limit(self, max_audio_bytes: int) -> int:
        """The longest body that can bring *max_audio_bytes* of audio."""
        return max_audio_bytes

    def audio_at_least(self, body_bytes: int) -> int:
        """How much audio a body of *body_bytes* must bring; what a message about its size says."""
        return body_bytes

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Take the next bytes of the body, and give the audio among them."""
        return (chunk,)

    def close(self) -> None:
        """Say that the body has ended; raises when it can't have."""

    def add(self, name: str, value: str) -> None:
        """
        Keep an option that came as text.

        Raises:
            MalformedRequest: too many fields, or one that came twice and is no list.
        """
        plain = _INDEX.sub("", name)
        if not value.strip():
            return  # a browser sends every field of a form, the empty ones too
        if self._adds_speaker(name, value):
            return
        several = self.fields.setdefault(plain, []) if plain in _LISTS or plain != name else None
        if isinstance(several, list):
            several.extend(part.strip() for part in value.split(","))
        elif plain in self.fields:
            raise MalformedRequest(f"field {printable(plain)!r} was sent twice; it takes one value")
        else:
            self.fields[plain] = value
        if len(self.fields) > MAX_FIELDS:
            raise MalformedRequest(f"more than {MAX_FIELDS} fields came with the request")

    def add_file(self, name: str, content: bytes) -> None:
        """Keep a known speaker's sample that came as a file. MalformedRequest: nobody is named."""
        if not self._adds_speaker(name, content):
            raise MalformedRequest(f"field {printable(name)!r} can't be a file; send known_speakers[NAME]")

    def _adds_speaker(self, name: str, value: str | bytes) -> bool:
        """Keep a field about a known speaker, which may hold commas; False where it is none."""
        plain, match = _INDEX.sub("", name), _SPEAKER.fullmatch(name)
        if plain in _SPEAKER_LISTS:
            listed = self.fields.setdefault(plain, [])
            if isinstance(listed, list):
                listed.append(value)
        elif match is not None:
            named = self.fields.setdefault(SAMPLES[0], {})
            if not isinstance(named, dict) or match[1] in named:
                raise MalformedRequest(f"field {printable(name)!r} was sent twice; it takes one value")
            named[match[1]] = value
        elif name == SAMPLES[0] and isinstance(value, str) and name not in self.fields:
            self.fields[name] = value
        elif name == SAMPLES[0]:
            raise MalformedRequest(f"field {name!r} takes one object of names with data URLs, or files {name}[NAME]")
        else:
            return False
        return True


def is_sample(name: str) -> bool:
    """Whether a field of this name brings a known speaker's sample."""
    return name.partition("[")[0] in SAMPLES


def printable(name: str) -> str:
    """A client's word as a message may repeat it: short, and printable ASCII."""
    return name if _NAME.fullmatch(name) else name[:200].encode("ascii", "backslashreplace").decode()[:200]
