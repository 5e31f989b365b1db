"""Probes: whether a worker's storage, scratch disk and models are as spans need them."""

import os
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from transcription.errors import BlobMissing, MurmurationError
from transcription.lanes import SPEAKERS
from transcription.ports import BlobStore
from transcription.settings import Settings
from worker.health.quarantine import MODEL, SCRATCH, STORAGE
from worker.model_cache import ModelCache

SCRATCH_BYTES = 1 << 20
REMEMBERED = 4


class Probes:
    """
    The probes of one worker; see `quarantine.py`.

    Args:
        settings: Where the folders are that the worker writes to.
        blobs: The store of the audio.
        models: The worker's models.
        waiting: Gives the SHA-256 of some recordings that wait, which must therefore be in the store.
        diarizer: Loads what tells speakers apart.
    """

    def __init__(
        self,
        settings: Settings,
        blobs: BlobStore,
        models: ModelCache,
        waiting: Callable[[], list[str]] = list,
        diarizer: Callable[[], object] = object,
    ) -> None:
        self._diarizer = diarizer
        self._blobs = blobs
        self._waiting = waiting
        self._models = models
        self._folders = (settings.pcm_dir, *([settings.copy_dir] if settings.blobs.url else []))
        self._failed: deque[str] = deque(maxlen=REMEMBERED)

    def remember(self, sha256: str) -> None:
        """A blob that couldn't be had: when it can, storage is well again."""
        if sha256 not in self._failed:
            self._failed.append(sha256)

    def __call__(self, part: str) -> None:
        """Try a part. Raises what is wrong with it."""
        if part == STORAGE:
            self._storage()
        elif part == SCRATCH:
            for folder in self._folders:
                write_and_read(folder)
        elif part.startswith(MODEL + SPEAKERS):
            self._diarizer()
        else:
            with self._models.get(part.removeprefix(MODEL)):
                return

    def _storage(self) -> None:
        """One blob that can be read is enough: of the others some may be gone for good."""
        error: Exception = BlobMissing("there is no audio to look at")
        for sha256 in (*self._failed, *self._waiting()):
            try:
                with self._blobs.fetch(sha256).open("rb") as file:
                    file.read(1)
            except (MurmurationError, OSError) as found:
                error = found
            else:
                return
        raise error


def write_and_read(folder: Path) -> None:
    """Write, sync, read and delete a file in *folder*. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path, content = folder / f".probe-{uuid.uuid4().hex}.part", os.urandom(SCRATCH_BYTES)
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != content:
            raise OSError(f"{folder} doesn't give back what was written to it")
    finally:
        path.unlink(missing_ok=True)
