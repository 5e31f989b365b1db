"""Which weights a model has: part of every fingerprint, so that other weights give another result."""

import hashlib
from functools import lru_cache
from pathlib import Path

from demo import REVISION

_PARTS, _PART_BYTES = 64, 65_536
"""What is read of the weights: so many parts, evenly spread. Training changes nearly every number of a model."""


def revision(name: str) -> str:
    """
    The revision of a model's weights: the demo model's own, what a directory's weights are, else «main».

    It is the same on every host that has the same weights, whenever they were copied there, and another for a
    fine-tuned model of the same size. Reads up to 4 MiB of a file that it hasn't seen.
    """
    if name == "demo":
        return REVISION
    weights = Path(name) / "model.bin"
    if weights.is_file():
        stat = weights.stat()
        # A copy may keep the time of its original; when the file itself was changed, nobody can choose.
        return _digest(weights, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return "main"


@lru_cache(maxsize=64)
def _digest(weights: Path, size: int, *_: int) -> str:
    """The digest of a file of that size; what else tells the file from its successors makes it be read again."""
    digest = hashlib.sha256(f"{size}".encode())
    with weights.open("rb") as file:
        for part in range(_PARTS):
            file.seek(part * max(_PART_BYTES, (size - _PART_BYTES) // (_PARTS - 1)))
            digest.update(file.read(_PART_BYTES))
    return digest.hexdigest()[:16]
