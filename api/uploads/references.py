"""Known speakers as requests bring them: a name each, and a sample of the voice as a data URL or a form's file."""

import binascii
import re
from collections.abc import Mapping

import orjson

from api.uploads.form import printable
from transcription.errors import InvalidReference, MalformedRequest

FIELD = "known_speakers"
MAX_SAMPLE_BYTES = 4 << 20
"""Ten seconds of 24 bits at 48 kHz in stereo, and to spare."""

_MAX_MARKS = 64
"""Of a form's JSON: names with data URLs need two each, and a parser makes an object of every further one."""

_HEAD = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


def samples_of(fields: Mapping[str, object]) -> tuple[dict[str, object], dict[str, bytes]]:
    """
    Take the samples of known speakers out of what a request brought.

    Returns:
        The fields with the names alone, as options have them; and the samples by name, not yet looked at.

    Raises:
        MalformedRequest: no names with samples.
        InvalidReference: a sample that is no data URL, is empty or too large, or is another speaker's.
    """
    rest = dict(fields)
    found = _by_name(rest.pop(FIELD, None))
    samples = {name.strip(): _content(name, value) for name, value in found.items()}
    if found:
        rest[FIELD] = list(found)
    whose: dict[bytes, str] = {}
    for name, sample in samples.items():
        other = whose.setdefault(sample, name)
        if other != name:
            raise InvalidReference(f"known speakers {printable(other)!r} and {printable(name)!r} have the same sample")
    return rest, samples


def _by_name(value: object) -> Mapping[str, object]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value) if sum(map(value.count, "[{,")) <= _MAX_MARKS else 0
        except orjson.JSONDecodeError:
            value = 0
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest(
            f"{FIELD}: must be an object of names with data URLs, or in a form files called {FIELD}[NAME]"
        )
    return value


def _content(name: str, value: object) -> bytes:
    whose = f"known speaker {printable(name)!r}: "
    content = value if isinstance(value, bytes) else _decoded(value, whose)
    if not content:
        raise InvalidReference(f"{whose}the sample has no bytes")
    if len(content) > MAX_SAMPLE_BYTES:
        raise InvalidReference(f"{whose}the sample has {len(content)} bytes; the limit is {MAX_SAMPLE_BYTES}")
    return content


def _decoded(value: object, whose: str) -> bytes:
    head = _HEAD.match(value) if isinstance(value, str) else None
    if not isinstance(value, str) or head is None:
        raise InvalidReference(f"{whose}the sample must be a data URL in base64, data:audio/wav;base64,…")
    try:
        return binascii.a2b_base64(value[head.end() :].encode("ascii", "replace"), strict_mode=True)
    except binascii.Error as error:
        raise InvalidReference(f"{whose}the sample isn't base64 (RFC 4648, with padding): {error}") from error
