"""
JSON with the audio in it: `{"audio": "<base64>", …}`, decoded while it comes.

`orjson.loads` on a limited body would be shorter. But clients of these APIs send hours of sound so: a limit that
bounds memory (32 MB) refuses what they send today, and one that doesn't holds body and audio of each upload in memory.
"""

import binascii
import re
from collections.abc import Iterable

import orjson

from api.uploads.filenames import safe_name
from api.uploads.form import MAX_FIELDS_BYTES, MAX_SAMPLES_BYTES, OVERHEAD_BYTES, SAMPLES, Form, printable
from transcription.errors import BadBase64, MalformedRequest, MissingFile, TooManyFiles

_STRUCTURE = re.compile(rb'["{}\[\],:]')
_IN_STRING = re.compile(rb'["\\]')
_MAX_KEY_BYTES = 256
_MAX_STEPS = 1 << 18
"""Marks and escapes besides the audio, each of which is a step in Python: base64 with escaped slashes has one in 64."""
_DATA_URL = b"data:"
_MAX_HEAD_BYTES = 256
_SAMPLES = tuple(name.encode() for name in SAMPLES)


class Base64Stream:
    """
    Base64 in pieces of any length. JSON's escapes for a slash and for line ends are understood, and so is a data URL:
    `data:audio/wav;base64,…`.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._rest = b""
        self._padded = False

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        """
        Decode what can be decoded so far.

        Raises:
            BadBase64: characters that aren't base64, or a length that can't be.
        """
        data = self._rest + self._without_head(piece, last=last)
        if b"\\" in data:
            held = data[-1:] if data.endswith(b"\\") and not last else b""
            data = data[: len(data) - len(held)].replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")
        else:
            held = b""
        data = data.translate(None, b" \t\r\n")
        whole = len(data) if last else len(data) // 4 * 4
        block, self._rest = data[:whole], data[whole:] + held
        if block and self._padded:
            raise BadBase64("the field 'audio' goes on after its base64 padding")
        self._padded = self._padded or block.endswith(b"=")
        try:
            return binascii.a2b_base64(block, strict_mode=True)
        except binascii.Error as error:
            raise BadBase64(f"the field 'audio' isn't base64 (RFC 4648, with padding): {error}") from error

    def _without_head(self, piece: bytes, *, last: bool) -> bytes:
        """*piece* without what a data URL begins with, which may come in pieces too."""
        if self._head is None:
            return piece
        head = self._head + piece
        if not _DATA_URL.startswith(head[:5].lower()) or (last and len(head) < len(_DATA_URL)):
            self._head = None
            return head
        mark, comma, rest = head.partition(b",")
        if not comma:
            if last or len(head) > _MAX_HEAD_BYTES:
                raise BadBase64("the field 'audio' begins as a data URL, but no comma ends its head")
            self._head = head
            return b""
        if not mark.lower().rstrip().endswith(b";base64"):
            raise BadBase64("the field 'audio' is a data URL that isn't base64: data:audio/wav;base64,…")
        self._head = None
        return rest


class JsonForm(Form):
    """
    A JSON object whose field `audio` is decoded as it comes; everything else in it must be small.

    The object is scanned only so far as to find that one string; the rest, with an empty string in its place, goes
    to a real JSON parser at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rest = bytearray()
        # For every object or list that is open, the key at which a value stands now.
        self._path: list[bytes | None] = []
        self._in_string = False
        self._escaped = False
        self._key: bytearray | None = None
        self._value_next = False
        self._audio: Base64Stream | None = None
        self._audios = self._sample_bytes = self._steps = 0
        self.from_query: dict[str, object] = {}

    def body_limit(self, max_audio_bytes: int) -> int:
        """The longest body that can bring *max_audio_bytes* of audio."""
        return max_audio_bytes * 4 // 3 + OVERHEAD_BYTES

    def audio_at_least(self, body_bytes: int) -> int:
        """How much audio a body of *body_bytes* must bring."""
        return (body_bytes - OVERHEAD_BYTES) * 3 // 4

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """
        Take the next bytes of the body, and give the audio among them.

        Raises:
            BadBase64: the audio isn't base64.
            MalformedRequest: too much besides the audio.
            TooManyFiles: a second `audio`.
        """
        audio: list[bytes] = []
        at = 0
        while at < len(chunk):
            if self._audio is not None:
                at = self._decode(self._audio, chunk, at, audio)
            else:
                at = self._string(chunk, at) if self._in_string else self._structure(chunk, at)
                self._steps += 1
                if self._steps > _MAX_STEPS:
                    raise MalformedRequest(f"the JSON has more than {_MAX_STEPS} marks and escapes besides its 'audio'")
        if self._sample_bytes > MAX_SAMPLES_BYTES:
            raise MalformedRequest(f"the samples of known speakers have more than {MAX_SAMPLES_BYTES} bytes together")
        if len(self._rest) - self._sample_bytes > MAX_FIELDS_BYTES:
            raise MalformedRequest(f"the JSON has more than {MAX_FIELDS_BYTES} bytes besides its 'audio'")
        return audio

    def close(self) -> None:
        """
        Say that the body has ended, and read the options.

        Raises:
            MalformedRequest: no JSON object.
            MissingFile: neither `audio` nor `url` in it.
            BadBase64: `audio` isn't a string.
        """
        try:
            parsed = orjson.loads(bytes(self._rest))
        except orjson.JSONDecodeError as error:
            raise MalformedRequest(f"the body is no JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise MalformedRequest("the body must be a JSON object with 'audio' in it")
        # A null is what a typed client sends for a field that isn't set.
        self.from_query = self.fields
        self.fields = {name: value for name, value in parsed.items() if value is not None}
        twice = sorted(self.fields.keys() & self.from_query.keys())
        if twice:
            raise MalformedRequest(f"field {printable(twice[0])!r} came twice, in the body and in the query")
        self.fields |= self.from_query
        audio, url = self.fields.pop("audio", None), self.fields.pop("url", None)
        filename = self.fields.pop("filename", None)
        self.filename = safe_name(filename if isinstance(filename, str) else None)
        if url is not None and not isinstance(url, str):
            raise MalformedRequest("the field 'url' must be a string")
        self.url = url
        if self.is_odd_audio(audio):
            raise BadBase64("the field 'audio' must be one base64 string")
        if not self._audios and url is None:
            got = ", ".join(map(repr, list(parsed)[:20])) or "an empty object"
            raise MissingFile(f"no field 'audio' (base64); got {got}"[:500])

    def is_audio(self, path: list[bytes | None]) -> bool:
        """Whether the string at *path* is the audio: keys from the outside in, None for a list."""
        return path == [b"audio"]

    def is_odd_audio(self, value: object) -> bool:
        """Whether *value*, which stood where the audio was expected, is none; the audio itself was taken out of it."""
        return value not in (None, "")

    def _decode(self, stream: Base64Stream, chunk: bytes, at: int, audio: list[bytes]) -> int:
        end = chunk.find(b'"', at)
        last = end >= 0
        audio.append(stream.feed(chunk[at : end if last else len(chunk)], last=last))
        if not last:
            return len(chunk)
        self._audio = None
        self._rest += b'"'
        return end + 1

    def _string(self, chunk: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return self._keep(chunk, at, at + 1)
        match = _IN_STRING.search(chunk, at)
        if match is None:
            return self._keep(chunk, at, len(chunk))
        end = self._keep(chunk, at, match.end())
        if match[0] == b"\\":
            self._escaped = True
            return end
        self._in_string = False
        if self._key is not None:
            self._path[-1], self._key = bytes(self._key[:-1]), None
        return end

    def _structure(self, chunk: bytes, at: int) -> int:
        match = _STRUCTURE.search(chunk, at)
        if match is None:
            return self._keep(chunk, at, len(chunk))
        end = self._keep(chunk, at, match.end())
        mark = match[0]
        if mark == b'"':
            self._begin_string()
        elif mark in b"{[":
            self._path.append(b"" if mark == b"{" else None)
            self._value_next = mark == b"["
        elif mark in b"}]":
            del self._path[-1:]
        else:
            # After a comma comes a value in a list, a key in an object.
            self._value_next = mark == b":" or self._path[-1:] == [None]
        return end

    def _begin_string(self) -> None:
        if not self._value_next:
            self._in_string = True
            self._key = bytearray() if self._path and self._path[-1] is not None else None
        elif self.is_audio(self._path):
            self._audios += 1
            if self._audios > 1:
                raise TooManyFiles("the field 'audio' came twice; send one recording with each request")
            self._audio = Base64Stream()
        else:
            self._in_string = True

    def _keep(self, chunk: bytes, start: int, end: int) -> int:
        self._rest += chunk[start:end]
        if self._in_string and self._key is None and self._path and self._path[0] in _SAMPLES:
            self._sample_bytes += end - start
        if self._key is not None and len(self._key) < _MAX_KEY_BYTES:
            self._key += chunk[start:end]
        return end
