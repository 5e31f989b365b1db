"""A log that doesn't grow for ever, and keeps nothing for ever."""

import logging
from datetime import date, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

MOST_BYTES = 10_000_000
KEPT = 14


class LogFile:
    """
    Lines in a file, under the name of whoever wrote them; when it is full, and with the first line of another day, the
    file moves to `.1`, that to `.2`, and so on; `KEPT` are kept.

    Args:
        path: Where to; its directory is made.
        most_bytes: From this size on it is full.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = _Daily(path, most_bytes=most_bytes)

    def line(self, name: str, text: str) -> None:
        """Write one line."""
        self._handler.handle(logging.makeLogRecord({"msg": f"{name:<7}| {text}"}))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _Daily(RotatingFileHandler):
    def __init__(self, path: Path, *, most_bytes: int) -> None:
        super().__init__(path, maxBytes=most_bytes, backupCount=KEPT, encoding="utf-8", delay=True)
        self._day = _day_of(path)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  logging's name
        """Whether this record begins another file: its day isn't that of the last one, or there is no room for it."""
        before, self._day = self._day, datetime.fromtimestamp(record.created).astimezone().date()
        return before not in (None, self._day) or bool(super().shouldRollover(record))


def _day_of(path: Path) -> date | None:
    """The day of the last line of an earlier process; None where there is none."""
    try:
        written = path.stat()
    except OSError:
        return None
    return datetime.fromtimestamp(written.st_mtime).astimezone().date() if written.st_size else None
