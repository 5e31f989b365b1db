"""Result warnings: what a transcript lacks, or where its times may be off, so that nothing is lost in silence."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

MOST_OF_A_CODE = 8
"""Warnings of one code that are told one by one; the last of them stands for all further ones too."""

MOST_CHARACTERS = 300


class WarningCode(StrEnum):
    """What can be wrong with a result that there is nevertheless."""

    DAMAGED = "damaged"
    TRUNCATED = "truncated"
    DISCONTINUITY = "discontinuity"
    TRAILING_DATA = "trailing_data"
    CHANNELS_CANCEL = "channels_cancel"
    OTHER_TRACKS = "other_tracks"
    LENGTH_UNKNOWN = "length_unknown"
    SKIPPED = "skipped"


MEANINGS = {
    WarningCode.DAMAGED: "Part of the recording can't be decoded; the rest is transcribed as far as possible.",
    WarningCode.TRUNCATED: "The recording ends before the end that its file claims.",
    WarningCode.DISCONTINUITY: "The time stamps jump in an impossible way; times after it follow the sound instead.",
    WarningCode.TRAILING_DATA: "Bytes before or after the recording that couldn't be read.",
    WarningCode.CHANNELS_CANCEL: "The channels cancel each other out; only the loudest one was used.",
    WarningCode.OTHER_TRACKS: "The file has other audio tracks, which weren't transcribed.",
    WarningCode.LENGTH_UNKNOWN: "The length of a damaged part is unknown; times after it may be wrong.",
    WarningCode.SKIPPED: "The model got stuck in a window; the rest of that window isn't transcribed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultWarning:
    """
    One thing that a result lacks.

    ``start`` is where, in seconds of the recording; ``seconds`` or ``bytes`` how much; ``count`` how many places it
    stands for. What doesn't apply or isn't known is None.
    """

    code: WarningCode
    message: str
    start: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    count: int = 1

    def shape(self) -> dict[str, Any]:
        """As JSON has it: times to the millisecond, without what doesn't apply."""
        shape: dict[str, Any] = {name: value for name, value in asdict(self).items() if value is not None}
        rounded: dict[str, Any] = {name: round(shape[name], 3) for name in ("start", "seconds") if name in shape}
        return {**shape, **rounded, "code": self.code.value}

    @property
    def line(self) -> str:
        """On one line of text: code, where, message."""
        where = "" if self.start is None else f" at {self.start:.1f} s"
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.code.value}{where}: {self.message}{times}"


class WarningList:
    """Warnings as they are found: neighbours of one code are joined, and there are never more than a few of each."""

    def __init__(self) -> None:
        self._found: dict[WarningCode, list[ResultWarning]] = {}

    def add(self, warning: ResultWarning) -> None:
        """Take note of *warning*."""
        short = replace(warning, message=_printable(warning.message))
        same = self._found.setdefault(warning.code, [])
        if len(same) < MOST_OF_A_CODE:
            same.append(short)
            return
        last = same[-1]
        same[-1] = replace(
            last,
            seconds=_sum(last.seconds, short.seconds),
            bytes=_whole(_sum(last.bytes, short.bytes)),
            count=last.count + short.count,
        )

    def __iter__(self) -> Any:
        every = [warning for same in self._found.values() for warning in same]
        return iter(sorted(every, key=lambda warning: (warning.start is not None, warning.start or 0.0)))


def one_line(text: str) -> str:
    """*text* as a subtitle's cue or a comment can hold it: an empty line or an arrow would end those."""
    return re.sub("-{2,}>", "->", " ".join(text.split()))


def warning_codes(warnings: Iterable[ResultWarning]) -> str:
    """The codes of *warnings* as the header `Murmur-Warnings` has them; empty for a perfect result."""
    return ", ".join(sorted({warning.code.value for warning in warnings}))


def parsed(raw: Iterable[dict[str, Any]]) -> tuple[ResultWarning, ...]:
    """
    Warnings from the shapes that `ResultWarning.shape` gives.

    Shapes that aren't understood are left out: they may come from a process that read a hostile file, or from a newer
    version.
    """
    found = WarningList()
    for shape in raw:
        try:
            found.add(_parsed(shape))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return tuple(found)


def _parsed(shape: dict[str, Any]) -> ResultWarning:
    return ResultWarning(
        code=WarningCode(shape["code"]),
        message=str(shape["message"]),
        start=_number(shape.get("start")),
        seconds=_number(shape.get("seconds")),
        bytes=_whole(_number(shape.get("bytes"))),
        count=max(1, int(shape.get("count", 1))),
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not 0 <= number < 1e15:
        raise ValueError(value)
    return number


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _sum(a: float | None, b: float | None) -> float | None:
    return a if b is None else b if a is None else a + b


def _printable(text: str) -> str:
    """One line of text that no format takes for anything else."""
    return one_line("".join(c if c.isprintable() else " " for c in text[: 2 * MOST_CHARACTERS]))[:MOST_CHARACTERS]
