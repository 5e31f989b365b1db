"""Whether stored bytes are what their name says."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from transcription.encryption.files import PLAIN, Broken, FileEncryption
from transcription.errors import BlobDamaged, BlobMissing

CHUNK_BYTES = 1 << 20
REMEMBERED = 4096


def verify(
    path: Path,
    sha256: str,
    *,
    damaged: Callable[[str], None],
    progressed: Callable[[], None] = lambda: None,
    encryption: FileEncryption = PLAIN,
) -> None:
    """
    Read the file at *path* and compare it with *sha256*.

    Args:
        path: A blob, or a copy of one.
        sha256: What it should have.
        damaged: Takes it out of use.
        progressed: Called after every mebibyte; what it raises ends the reading.
        encryption: Opens it, where it is encrypted.

    Raises:
        BlobDamaged: it is another file, and has been set aside.
        BlobMissing: it isn't there any more.
        StorageUnavailable: it is encrypted, and its key can't be had.
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    try:
        with encryption.open(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                progressed()
    except FileNotFoundError:
        raise BlobMissing(f"audio {sha256} isn't there any more") from None
    except Broken as error:
        damaged(sha256)
        raise BlobDamaged(
            f"what is stored as audio {sha256} isn't what was stored ({error}); it was set aside, and the next upload "
            "of the recording replaces it"
        ) from None
    if digest.hexdigest() != sha256:
        damaged(sha256)
        raise BlobDamaged(
            f"what is stored as audio {sha256} isn't that audio (its SHA-256 is {digest.hexdigest()}); "
            "it was set aside, and the next upload of the recording replaces it"
        )


class Verified:
    """Verifies each blob once, and again when its size or time has changed."""

    def __init__(self, damaged: Callable[[str], None], encryption: FileEncryption = PLAIN) -> None:
        self._damaged = damaged
        self._encryption = encryption
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, path: Path, sha256: str, *, progressed: Callable[[], None]) -> None:
        """Verify the file at *path*: see `verify`."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise BlobMissing(f"audio {sha256} isn't there any more") from None
        mark = stat.st_size, stat.st_mtime_ns
        if self._known.get(sha256) != mark:
            verify(path, sha256, damaged=self._damaged, progressed=progressed, encryption=self._encryption)
            self._known[sha256] = mark
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
