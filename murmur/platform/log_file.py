"""A log that doesn't grow for ever."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

MOST_BYTES = 10_000_000
KEPT = 5


class LogFile:
    """Lines in a file, under the name of whoever wrote them; when it is full, the file moves to `.1`, and so on."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(path, maxBytes=most_bytes, backupCount=KEPT, encoding="utf-8", delay=True)

    def line(self, name: str, text: str) -> None:
        """Write one line."""
        self._handler.handle(logging.makeLogRecord({"msg": f"{name:<7}| {text}"}))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
