"""What was measured: a line of JSON each, kept as soon as it is there, so that an end at any moment leaves the rest."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(os.environ.get("OUT", ".gpu/out"))
RESULTS = "results.jsonl"
STARTED = time.time()


def say(**figures: Any) -> None:
    """Print and keep a row."""
    print(keep(**figures), flush=True)


def keep(**figures: Any) -> str:
    """Keep a row, whole or not at all; returns its line."""
    line = json.dumps({"t": round(time.time() - STARTED, 1), **figures})
    descriptor = os.open(OUT / RESULTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
    return line


def kept(directory: Path) -> Iterator[dict[str, Any]]:
    """The rows in *directory*, as far as there are any; what was cut is left out."""
    try:
        lines = (directory / RESULTS).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "what" in row:
            yield row
