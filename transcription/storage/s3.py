"""Blobs in a bucket: Amazon S3, or whatever else speaks its language (MinIO, Ceph, R2, Garage)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from transcription.storage.cached import missing, unavailable
from transcription.storage.pages import Held

CHUNK_BYTES = 1 << 20
CLOCK = "clock"
RESULTS = "results/"
"""The folder of what isn't a recording: see `transcription.storage.results`."""

CLOCK_GOOD_S = 3600.0
WHERE = "the bucket of the audio"


class S3Source:
    """
    A bucket, or a folder of one: `s3://bucket/folder`.

    Keys and region come from where Amazon's own tools take them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_REGION, or the machine's role.

    Args:
        url: The bucket, and the folder in it.
        endpoint: URL of a server that isn't Amazon's; it may be without TLS.
    """

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        bucket, _, folder = url.removeprefix("s3://").partition("/")
        where: Any = {"endpoint": endpoint} if endpoint else {}  # a None is refused
        self.store = self._store = S3Store(
            bucket,
            prefix=folder or None,
            **where,
            # A recording may take long on a slow line, as long as something comes.
            client_options={
                "timeout": "2h",
                "read_timeout": "30s",
                "connect_timeout": "5s",
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 3},
        )
        self._clock: tuple[datetime, float] | None = None

    def read(self, sha256: str) -> Iterator[bytes]:
        """The blob's bytes, a piece at a time. BlobMissing, StorageUnavailable."""
        try:
            with self._translated():
                for chunk in obstore.get(self._store, _key(sha256)).stream(min_chunk_size=CHUNK_BYTES):
                    yield bytes(chunk)
        except FileNotFoundError as error:
            raise missing(sha256, WHERE) from error

    def write(self, sha256: str, path: Path) -> None:
        """Keep the bytes of *path*, in parts if they are many. StorageUnavailable."""
        with self._translated():
            obstore.put(self._store, _key(sha256), path)

    def set_aside(self, sha256: str) -> None:
        """Leave it to the next upload, which writes over it whatever lies there."""

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob that came in longer ago than that; nothing happens when there is none. StorageUnavailable."""
        with self._translated(), suppress(FileNotFoundError):
            if obstore.head(self._store, _key(sha256))["last_modified"] < self.before(older_than_s):
                obstore.delete(self._store, _key(sha256))

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        """Delete older blobs that nobody holds; how many. StorageUnavailable."""
        swept = 0
        with self._translated():
            before = self.before(older_than_s)
            for page in obstore.list(self._store):
                old = [
                    entry["path"].rpartition("/")[2]
                    for entry in page
                    if entry["last_modified"] < before and not entry["path"].startswith(RESULTS)
                ]
                needed = held([sha256 for sha256 in old if sha256 != CLOCK]) if old else ()
                for sha256 in old:
                    if sha256 != CLOCK and sha256 not in needed:
                        # It may have come in once more since the page was listed.
                        self.discard(sha256, older_than_s=older_than_s)
                        swept += 1
        return swept

    def before(self, seconds: float) -> datetime:
        """So long ago by the bucket's clock, which stamps what is in it: this host's may be hours off."""
        if self._clock is None or time.monotonic() - self._clock[1] > CLOCK_GOOD_S:
            obstore.put(self._store, CLOCK, b"")
            self._clock = obstore.head(self._store, CLOCK)["last_modified"], time.monotonic()
        at, looked_at = self._clock
        return at + timedelta(seconds=time.monotonic() - looked_at - seconds)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise unavailable(WHERE, type(error).__name__) from error


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
