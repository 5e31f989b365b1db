"""Audio tracks: which a file has, and which of them is transcribed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transcription.errors import InvalidOption
from transcription.languages import code_of

MOST_TRACKS = 1000
"""Streams of any kind that are looked at in a file; see `opened`."""

MOST_NAMED = 32
"""Tracks that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """
    One audio track. ``number`` counts the file's audio tracks from 1; ``language`` is as its tag says, an ISO 639-1
    code where Whisper knows one; ``taken`` says whether it is the one that was transcribed.
    """

    number: int
    codec: str
    channels: int
    sample_rate: int
    language: str | None = None
    title: str | None = None
    default: bool = False
    taken: bool = False

    @property
    def described(self) -> str:
        """In a few words."""
        said = (f"{self.number}", self.language or "", repr(self.title) if self.title else "")
        return " ".join(part for part in said if part)


def choose(tracks: Sequence[Track], *, wanted: str | None, language: str | None) -> Track:
    """
    The track to transcribe.

    Args:
        tracks: Those that can be decoded, at least one.
        wanted: `audio_track`: a number from 1 on, or a language.
        language: The language that was asked for; the one track that is tagged with it is taken.

    Returns:
        What *wanted* names; else the one track in *language*; else the default one; else the first.

    Raises:
        InvalidOption: *wanted* names none of them.
    """
    if wanted is not None:
        return _named(tracks, wanted)
    if language is not None:
        tagged = [track for track in tracks if track.language == language]
        if len(tagged) == 1:
            return tagged[0]
    return next((track for track in tracks if track.default), tracks[0])


def _named(tracks: Sequence[Track], wanted: str) -> Track:
    if wanted.isascii() and wanted.isdigit():
        found = [track for track in tracks if track.number == int(wanted)]
    else:
        asked = code_of(wanted) or wanted.lower()
        found = [track for track in tracks if track.language == asked]
        found.sort(key=lambda track: not track.default)
    if not found:
        have = ", ".join(track.described for track in tracks[:MOST_NAMED])
        raise InvalidOption(f"audio_track: the file has no audio track {wanted[:40]!r}; it has {have}"[:600])
    return found[0]


def parsed(raw: Iterable[dict[str, Any]]) -> tuple[Track, ...]:
    """Tracks from their fields as JSON; what isn't understood is left out."""
    found = []
    for shape in raw:
        try:
            found.append(_parsed(shape))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found[:MOST_NAMED])


def _parsed(shape: dict[str, Any]) -> Track:
    return Track(
        number=int(shape["number"]),
        codec=str(shape["codec"])[:40],
        channels=int(shape["channels"]),
        sample_rate=int(shape["sample_rate"]),
        language=_short(shape.get("language")),
        title=_short(shape.get("title")),
        default=bool(shape.get("default")),
        taken=bool(shape.get("taken")),
    )


def _short(value: Any) -> str | None:
    return None if value is None else str(value)[:80]
