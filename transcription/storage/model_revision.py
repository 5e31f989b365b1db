"""Which weights a model has: part of every fingerprint, so that other weights give another result."""

from pathlib import Path

from demo import REVISION


def revision(name: str) -> str:
    """The revision of a model's weights: the demo model's own, a directory's newest change, else «main»."""
    if name == "demo":
        return REVISION
    weights = Path(name) / "model.bin"
    if weights.is_file():
        stat = weights.stat()
        return f"{stat.st_size:x}-{int(stat.st_mtime):x}"
    return "main"
