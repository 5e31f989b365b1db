"""What has been made of a model once and is used at every later start: a directory beside the models."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.engines.model_bin import ModelBin

SAMPLED_BYTES = 1 << 16
SAMPLES = 64
UNUSED_S = 30 * 86_400
"""After so long without a start that asks for it, what was made goes: it can be as large as the model."""

_SPARE = re.compile(r"encoder/layer_[1-9]")
"""Weights that CTranslate2 can do without where another library encodes: it insists on one layer."""


def published(directory: Path, cache: Path, identity: str, write: Callable[[Path], None]) -> Path:
    """
    Find what was made of the model in *directory*, or make it.

    Args:
        directory: Holds a CTranslate2 model.
        cache: Where such directories lie.
        identity: What else the content depends on: versions, processor, arithmetic.
        write: Adds its files to the directory that it is given.

    Returns:
        A directory in *cache* with the model less its encoder, and what *write* has written. It is complete or not
        there; processes that start at the same moment wait for the first.

    Raises:
        ModelUnavailable: *directory* holds no model.
        OSError: *cache* can't be written.
    """
    place = cache / f"{directory.name[:40]}-{digest(directory, identity)}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f".{place.name}.lock"):
        if not place.is_dir():
            draft = cache / f".{place.name}.draft"
            shutil.rmtree(draft, ignore_errors=True)  # what a killed process has left
            draft.mkdir()
            _without_encoder(directory, draft)
            write(draft)
            draft.rename(place)
        os.utime(place)
    _drop_unused(cache)
    return place


def digest(directory: Path, identity: str) -> str:
    """A name for the weights in *directory* together with *identity*."""
    weights = directory / "model.bin"
    size = weights.stat().st_size
    found = hashlib.blake2b(f"{size} {identity}".encode(), digest_size=12)
    with weights.open("rb") as file:
        for sample in range(SAMPLES):  # a fine-tuned model of the same size differs nearly everywhere
            file.seek(sample * size // SAMPLES)
            found.update(file.read(SAMPLED_BYTES))
    return found.hexdigest()


def _drop_unused(cache: Path) -> None:
    """Remove what only an earlier version used, or another processor, or a model that is gone."""
    oldest = time.time() - UNUSED_S
    for place in [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]:
        with contextlib.suppress(OSError), _locked(cache / f".{place.name}.lock"):  # another user's, another's removal
            if place.stat().st_mtime < oldest:
                shutil.rmtree(place)


def _without_encoder(directory: Path, target: Path) -> None:
    for path in directory.iterdir():
        if path.is_file() and path.suffix in {".json", ".txt"}:
            shutil.copyfile(path, target / path.name)
    with (target / "model.bin").open("wb") as file:
        ModelBin(directory / "model.bin").write_subset(file, lambda name: not _SPARE.match(name))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
