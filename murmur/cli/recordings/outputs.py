"""Where transcripts go: a name for each that no other has, written whole or not at all, never over another unasked."""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from murmur.cli.recordings.formats import Format
from murmur.cli.recordings.inputs import Source

MAX_DEPTH = 64


def stems(sources: Sequence[Source]) -> list[str]:
    """
    A name for each recording's transcripts: its own without the extension; with it where two are the same then; with
    as many of its directories as it takes where that isn't enough.
    """
    paths = [source.path for source in sources]
    namings: list[Callable[[PurePosixPath], str]] = [lambda path: path.stem, lambda path: path.name]
    namings += [_with_parents(depth) for depth in range(2, MAX_DEPTH)]
    names: list[str | None] = [None] * len(paths)
    taken: set[str] = set()
    for naming in namings:
        tried = {at: naming(paths[at]) for at, name in enumerate(names) if name is None}
        # Two names that differ in case only are one on many disks.
        counted = Counter(name.casefold() for name in tried.values())
        for at, name in tried.items():
            if counted[name.casefold()] == 1 and name.casefold() not in taken:
                names[at] = name
        taken |= {name.casefold() for name in names if name}
    # What is left is the same recording named twice, as a.wav and ./a.wav.
    return [name or _numbered(path.name, taken) for name, path in zip(names, paths, strict=True)]


def _with_parents(depth: int) -> Callable[[PurePosixPath], str]:
    return lambda path: "-".join(part for part in path.parts[-depth:] if part not in ("/", "..", "."))


def _numbered(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}-{number}".casefold() in taken:
        number += 1
    taken.add(f"{name}-{number}".casefold())
    return f"{name}-{number}"


def write(target: Path, text: str) -> None:
    """Write *text* to *target*: the whole of it, or nothing. OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=target.parent, prefix=".murmur-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Ledger:
    """
    What is transcribed into which file, by the recording's content and the options: one small file for each.

    A job is noted when it is there, and again when its transcript is written.
    """

    def __init__(self) -> None:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        self._directory = Path(home) / "murmur" / "transcripts"

    def holds(self, target: Path, digest: str) -> bool:
        """Whether *target* is there, and came of what *digest* stands for."""
        kept = self._read(target)
        # Earlier versions don't say whether it was written.
        return target.is_file() and kept.get("digest") == digest and kept.get("written", True)

    def job(self, target: Path, digest: str) -> str | None:
        """The job that was made for *target*, where it is the same work."""
        kept = self._read(target)
        return kept.get("job") if kept.get("digest") == digest else None

    def note(self, target: Path, digest: str, job: str, *, written: bool) -> None:
        """Remember; where nothing can be remembered, everything is done anew the next time."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            kept = {"target": str(target), "digest": digest, "job": job, "written": written}
            self._file(target).write_text(json.dumps(kept))
        except OSError:
            return

    def _read(self, target: Path) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._file(target).read_text())
        except (OSError, ValueError):
            return {}
        return kept

    def _file(self, target: Path) -> Path:
        return self._directory / f"{hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:32]}.json"


def digest(source: Source, options: dict[str, object], form: Format) -> str:
    """What a transcript is made of: the recording's content (a URL's own name), the options, the format. OSError."""
    content = hashlib.sha256()
    if isinstance(source.audio, Path):
        with source.audio.open("rb") as file:
            while piece := file.read(1 << 20):
                content.update(piece)
    else:
        content.update(source.audio.encode() if isinstance(source.audio, str) else source.audio)
    given = {name: value for name, value in options.items() if value is not None}
    return hashlib.sha256(f"{content.hexdigest()} {json.dumps(given, sort_keys=True)} {form}".encode()).hexdigest()
