"""What there is to transcribe: files, directories, patterns, URLs, standard input."""

import glob
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from murmur.client.uploads import as_text, is_url
from murmur.errors import CliError

# By which files of a directory are recordings; a file that is named is sent whatever it is called.
_AUDIO = ("aac", "aif", "aiff", "amr", "flac", "m4a", "m4b", "mka", "mp2", "mp3", "oga", "ogg", "opus", "wav", "wma")
_VIDEO = ("3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv")
MEDIA = frozenset(_AUDIO + _VIDEO)
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """One recording: ``audio`` is its path, its URL, or its bytes from standard input."""

    label: str
    audio: Path | str | bytes

    @property
    def name(self) -> str:
        """The label as it can be printed."""
        return as_text(self.label)

    @property
    def path(self) -> PurePosixPath:
        """What names are made of."""
        if isinstance(self.audio, bytes):
            return PurePosixPath("stdin")
        if isinstance(self.audio, Path):
            return PurePosixPath(self.audio.as_posix())
        return PurePosixPath(urlsplit(self.audio).path.strip("/") or "url")


def sources(arguments: Sequence[str]) -> list[Source]:
    """
    The recordings that *arguments* stand for, each once, in their order.

    Raises:
        CliError: a directory holds none, a pattern fits none.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        for source in _expanded(argument):
            found.setdefault(source.label, source)
    return list(found.values())


def media_in(directory: Path) -> list[Path]:
    """The recordings in *directory* and below, by their names; what is hidden is left alone."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.suffix.lower().lstrip(".") in MEDIA
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and path.is_file()
    )


def _expanded(argument: str) -> Iterator[Source]:
    if argument == STDIN:
        yield Source(STDIN, sys.stdin.buffer.read())
        return
    if is_url(argument):
        yield Source(argument, argument)
        return
    path = Path(argument)
    if path.is_dir():
        inside = media_in(path)
        if not inside:
            raise CliError(f"there is no recording in {argument}")
        yield from (Source(str(one), one) for one in inside)
    elif not path.exists() and glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207  the pattern may begin anywhere
        if not matches:
            raise CliError(f"nothing fits {argument}")
        for match in matches:
            yield from _expanded(match)
    else:
        yield Source(argument, path)
