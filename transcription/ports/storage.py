"""Where uploaded bytes and finished results are kept."""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol


class Upload(Protocol):
    """A file on its way in."""

    size: int

    async def write(self, chunk: bytes) -> None:
        """Add bytes."""

    async def path(self) -> Path:
        """A local path with all bytes so far, to look at before they are kept; good until commit or abort."""

    async def commit(self) -> str:
        """Make the file durable under its SHA-256, and return that (64 hexadecimal digits)."""

    def sha256(self) -> str:
        """Its SHA-256, after `path`, which looked at all of its bytes."""

    async def abort(self) -> None:
        """Leave nothing behind; does nothing after a commit."""


class BlobStore(Protocol):
    """Uploaded bytes under their SHA-256; paths that it gives lead to what is stored, which may be encrypted."""

    def upload(self, *, expected_bytes: int = 0) -> Upload:
        """Begin to receive a file; so much of the disk is kept for it."""

    def promised_bytes(self) -> int:
        """What uploads that are under way have yet to bring, as far as they have said."""

    def fetch(self, sha256: str, *, progressed: Callable[[], None] = ...) -> Path:
        """A local path with the blob's bytes; *progressed* is called while they come. BlobMissing."""

    def set_aside(self, sha256: str) -> None:
        """Take a damaged blob out of use; the next upload of the recording replaces it."""

    def check(self, sha256: str) -> None:
        """Compare a blob with its name, and set it aside if it is another file. BlobMissing, BlobDamaged."""

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob that came in longer ago than that; nothing happens when there is none."""

    def old(self, *, older_than_s: float) -> list[str]:
        """The blobs that came in longer ago than that; uploads that began then and never ended are deleted."""

    def sweep(self, *, older_than_s: float, held: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Delete what came in longer ago than that and is not *held*, and uploads that never ended; how many files."""


class ResultStore(Protocol):
    """Finished results that have left the ledger, each under its computation's name."""

    def write(self, name: str, data: bytes) -> None:
        """Keep a result; it is durable when this returns. StorageUnavailable."""

    def read(self, name: str) -> bytes:
        """A result. ResultLost, StorageUnavailable."""

    def delete(self, name: str) -> None:
        """Delete a result; nothing happens when there is none. StorageUnavailable."""

    def old(self, *, older_than_s: float) -> Iterable[str]:
        """The names of what was written longer ago than that."""
