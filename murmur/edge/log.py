"""The lines that nginx writes to be counted: one a request, tabs between its fields (see its template: `counted`)."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BETWEEN_TRIES = re.compile(r", | : ")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_AT_ONCE = 1 << 20
_LONGEST = 8 << 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """nginx asked *upstream*, an address; *status* is what came back, 502 and 504 where nothing did."""

    upstream: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One request as nginx answered it.

    ``service`` is whose answer the client got: `api`, `flower`, `grafana`, or `nginx` where nobody was asked.
    ``seconds`` last until the client had all of it.
    """

    service: str
    method: str
    status: int
    seconds: float
    attempts: tuple[Attempt, ...] = ()


def parse(line: str) -> Answer | None:
    """The answer that *line* tells of; None for a line that isn't whole."""
    try:
        service, method, status, seconds, addresses, statuses, times = line.split("\t")
        asked = _tries(addresses, statuses, times)
        return Answer(
            service=service if asked else "nginx",
            method=method if method in _METHODS else "OTHER",
            status=int(status),
            seconds=float(seconds),
            attempts=asked,
        )
    except ValueError:
        return None


def _tries(addresses: str, statuses: str, times: str) -> tuple[Attempt, ...]:
    if addresses in ("", "-"):
        return ()
    parts = (_BETWEEN_TRIES.split(text) for text in (addresses, statuses, times))
    return tuple(
        Attempt(address, int(status) if status.isdigit() else 0, 0.0 if seconds == "-" else float(seconds))
        for address, status, seconds in zip(*parts, strict=True)
    )


class Log:
    """
    Reads what is new in the file, and empties it when it has grown long.

    nginx appends, so that an emptied file goes on at its start. How far it was read stands in a file beside it: who is
    started again counts nothing twice.
    """

    def __init__(self, file: Path, *, longest_bytes: int = _LONGEST) -> None:
        self._file = file
        self._mark = file.with_suffix(".read")
        self._longest = longest_bytes
        self._at = 0
        with suppress(OSError, ValueError):
            self._at = int(self._mark.read_text())

    def read(self, count: Callable[[str], None]) -> int:
        """Hand every whole new line to *count*; how many there were. None are there before nginx has started."""
        lines = 0
        with suppress(FileNotFoundError), self._file.open("r+b") as file:
            if file.seek(0, 2) < self._at:  # somebody else has emptied it
                self._at = 0
            file.seek(self._at)
            while whole := _whole_lines(file.read(_AT_ONCE)):
                for line in whole.decode(errors="replace").splitlines():
                    count(line)
                    lines += 1
                self._at += len(whole)
                file.seek(self._at)
            if self._at > self._longest and file.seek(0, 2) == self._at:
                file.truncate(0)
                self._at = 0
            if lines:
                self._mark.write_text(str(self._at))
        return lines


def _whole_lines(read: bytes) -> bytes:
    return read[: read.rfind(b"\n") + 1]
