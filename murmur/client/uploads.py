"""A recording on its way to the platform: a path, bytes, an open file, or a URL that the platform fetches."""

import base64
import contextlib
import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

Audio = str | Path | bytes | BinaryIO
Progress = Callable[[int, int | None], None]
"""Told of bytes sent and of all there are, None where that isn't known."""

FALLBACK_NAME = "audio"
KNOWN = "known_speakers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """
    A submission, ready to be sent as often as it takes: the idempotency key makes one job of all tries.

    `of` makes one of what can be read only once, too; close it when it was sent.
    """

    audio: Audio
    options: Mapping[str, Any]
    filename: str | None = None
    key: str | None = None
    progress: Progress | None = None
    kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @classmethod
    def of(
        cls, audio: Audio, options: Mapping[str, Any], *, filename: str | None, key: str, progress: Progress | None
    ) -> "Upload":
        """A submission; what can be read only once, as a pipe, is read to its end now. OSError."""
        with contextlib.ExitStack() as copies:
            name = filename or _name(audio)
            audio = _repeatable(audio, copies)
            if isinstance(known := options.get(KNOWN), Mapping):
                options = {**options, KNOWN: {who: _repeatable(sample, copies) for who, sample in known.items()}}
            return cls(audio=audio, options=options, filename=name, key=key, progress=progress, kept=copies.pop_all())

    def close(self) -> None:
        """Let the copies go that were made of what can be read only once."""
        self.kept.close()

    @property
    def headers(self) -> dict[str, str]:
        """What every try carries."""
        return {"Idempotency-Key": self.key or ""}

    @contextlib.contextmanager
    def request(self) -> Iterator[dict[str, Any]]:
        """Arguments of httpx's `post` for one try; a file is read from its beginning. OSError."""
        if is_url(self.audio):
            yield {"json": {**_set(self.options), "url": str(self.audio)}, "headers": self.headers}
            return
        with _opened(self.audio) as file:
            name = as_text(self.filename or _name(self.audio))
            sent = Watched(file, self.progress) if self.progress else file
            data = {option: _plain(value) for option, value in _set(self.options).items()}
            yield {"files": {"file": (name, sent)}, "data": data, "headers": self.headers}


class Watched(io.RawIOBase):
    """A file that reports how much of it has been read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress, self._sent = file, progress, 0
        self._total = _length(file)

    def read(self, size: int = -1) -> bytes:
        """Read on, and report it."""
        piece = self._file.read(size)
        self._sent += len(piece)
        self._progress(self._sent, self._total)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; a repetition begins at 0."""
        at = self._file.seek(offset, whence)
        self._sent = at
        return at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._file.tell()

    def seekable(self) -> bool:
        """As the file is."""
        return self._file.seekable()

    def readable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The file's, by which its length is found."""
        return self._file.fileno()


def new_key() -> str:
    """An idempotency key."""
    return uuid.uuid4().hex


def is_url(audio: Audio) -> bool:
    """Whether *audio* is for the platform to fetch."""
    return isinstance(audio, str) and audio.startswith(("http://", "https://"))


def as_text(name: str) -> str:
    """A file's *name* as it can be sent and printed: bytes that are no UTF-8 are U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(known := given.get(KNOWN), Mapping):
        given[KNOWN] = {name: _data_url(sample) for name, sample in known.items()}
    return given


def _data_url(sample: Audio) -> str:
    """A known speaker's sample as it is sent; one that is a data URL already stays as it is. OSError."""
    if isinstance(sample, str) and sample.startswith("data:"):
        return sample
    with _opened(sample) as file:
        return f"data:application/octet-stream;base64,{base64.b64encode(file.read()).decode()}"


def _name(audio: Audio) -> str:
    """What a recording is called: its path's last part; streams as `<stdin>`, and bytes, have no name."""
    name = audio if isinstance(audio, str | Path) else getattr(audio, "name", None)
    return Path(name).name if isinstance(name, str | Path) and not str(name).startswith("<") else FALLBACK_NAME


def _repeatable(audio: Audio, copies: contextlib.ExitStack) -> Audio:
    """*audio*, or a copy of it where it can be read only once: each try sends all of it. OSError."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return audio
    if isinstance(audio, str | Path):
        if str(audio).startswith(("http://", "https://", "data:")) or not Path(audio).is_fifo():
            return audio
        with Path(audio).open("rb") as pipe:
            return _copy(pipe, copies)
    known = audio.seekable() if hasattr(audio, "seekable") else hasattr(audio, "seek")
    return audio if known else _copy(audio, copies)


def _copy(source: BinaryIO, copies: contextlib.ExitStack) -> BinaryIO:
    copy = copies.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    shutil.copyfileobj(source, copy)
    return copy


def _length(file: BinaryIO) -> int | None:
    if not file.seekable():
        return None
    at = file.tell()
    length = file.seek(0, io.SEEK_END)
    file.seek(at)
    return length


@contextlib.contextmanager
def _opened(audio: Audio) -> Iterator[BinaryIO]:
    if isinstance(audio, bytes | bytearray | memoryview):
        yield io.BytesIO(audio)
    elif isinstance(audio, str | Path):
        with Path(audio).open("rb") as file:
            yield file
    else:
        # A second try sends the file from its beginning again.
        audio.seek(0)
        yield audio


def _plain(value: object) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
