"""Which weights a model has: part of every fingerprint, so that other weights give another result."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson

from demo import REVISION

_WEIGHTS = {".bin", ".safetensors", ".npz", ".onnx", ".pt"}
_BESIDE = {".json", ".txt"}
"""What a tokenizer and a network's shape are read from."""

Mark = list[tuple[str, int, int]]


def built_in(name: str) -> str:
    """The revision of a model that the platform brings along; empty for any other, of which only workers know."""
    return REVISION if name == "demo" else ""


class ModelRevisions:
    """
    The revisions of models in directories: CTranslate2's, Hugging Face's, MLX's.

    Args:
        memory: A file that remembers them by the names, sizes and times of their files: 3 GB are read once.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, tuple[Mark, str]] = {}
        with suppress(OSError, ValueError, TypeError):
            for path, (mark, revision) in orjson.loads(memory.read_bytes()).items():
                self._known[str(path)] = [(str(name), int(size), int(at)) for name, size, at in mark], str(revision)

    def of(self, directory: Path) -> str:
        """The hash of the weights in *directory* and of what is read beside them; empty without weights. OSError."""
        mark, place = _mark(directory), str(directory)
        known = self._known.get(place)
        if known is not None and known[0] == mark:
            return known[1]
        revision = _hash(directory, mark)
        if revision and _mark(directory) == mark:  # else it was changed while it was read
            self._known[place] = mark, revision
            self._remember()
        return revision

    def _remember(self) -> None:
        part = self._memory.with_suffix(f".{uuid.uuid4().hex}.part")
        with suppress(OSError):  # a disk that takes nothing costs one more reading
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(orjson.dumps(self._known))
            part.rename(self._memory)


def _files(directory: Path) -> Iterator[Path]:
    found = [path for path in sorted(directory.iterdir()) if path.suffix in _WEIGHTS | _BESIDE and path.is_file()]
    return iter(found if any(path.suffix in _WEIGHTS for path in found) else [])


def _mark(directory: Path) -> Mark:
    stats = [(path.name, path.stat()) for path in _files(directory)]
    # A copy may keep the time of its original; when the file itself was changed, nobody can choose.
    return [(name, stat.st_size, stat.st_mtime_ns ^ stat.st_ctime_ns) for name, stat in stats]


def _hash(directory: Path, mark: Mark) -> str:
    if not mark:
        return ""
    whole = hashlib.sha256()
    for name, _, _ in mark:
        with (directory / name).open("rb") as file:
            whole.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
