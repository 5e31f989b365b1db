"""Copies of backups in a bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from murmur.backup.errors import BackupFailed


class Bucket:
    """
    A bucket, or a folder of one, that takes copies of backups.

    Keys and region come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or the machine's role.

    Args:
        url: `s3://bucket/folder`.
        endpoint: URL of a server that isn't Amazon's.
    """

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        self._url = url
        bucket, _, folder = url.removeprefix("s3://").partition("/")
        plain = endpoint.startswith("http://")
        where: Any = {"endpoint": endpoint} if endpoint else {}  # a None is refused
        # Compose passes a variable that isn't set on as an empty one, which would be taken for a key.
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            if os.environ.get(name) == "":
                del os.environ[name]
        with self._told():
            self._store = S3Store(
                bucket,
                prefix=folder or None,
                **where,
                client_options={"timeout": "2h", "connect_timeout": "5s", "allow_http": plain},
                retry_config={"max_retries": 3},
            )

    def put(self, path: Path) -> None:
        """Copy a file there, and see that all of it has arrived. BackupFailed."""
        with self._told():
            obstore.put(self._store, path.name, path)
            there, here = obstore.head(self._store, path.name)["size"], path.stat().st_size
        if there != here:
            raise BackupFailed(f"{self._url} has {there} bytes of {path.name}, which has {here}")

    def names(self) -> list[str]:
        """The names of all files there. BackupFailed."""
        with self._told():
            return [entry["path"] for page in obstore.list(self._store) for entry in page]

    def delete(self, name: str) -> None:
        """Delete a file. BackupFailed."""
        with self._told():
            obstore.delete(self._store, name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # The library's sentences go on about requests; the first line says what is wrong.
            first = next(iter(str(error).splitlines()), "")
            raise BackupFailed(
                f"the bucket {self._url} can't be used: {type(error).__name__}: {first[:200]}"
            ) from error
