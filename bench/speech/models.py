"""The demo model for benchmarks of what comes out, and words as they are compared."""

from pathlib import Path

import demo
from transcription.settings import Settings
from worker.engines import faster_whisper
from worker.engines.base import Engine


def engine_of(folder: Path, size: str) -> Engine:
    """The demo model, `demo` as it is or at the cost of another *size*, on one thread; its files go into *folder*."""
    directory = demo.export_ct2(folder / "model", None if size == "demo" else size)
    return faster_whisper.load("demo", directory, Settings(worker={"model_workers": 1, "encoder": "ctranslate2"}))


def plain(text: str) -> str:
    """Words alone."""
    return "".join(c if c.isalnum() or c in "' " else " " for c in text.lower())
