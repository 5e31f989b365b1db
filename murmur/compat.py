"""
The client of Production Scale's example, for scripts that were written for that service.

    from murmur.compat import WhisperClient

    client = WhisperClient("http://127.0.0.1:8000")
    print(client.transcribe_file("audio.mp3", vad_filter=True, language="en")["text"])

New scripts have more of `murmur.client.Client`.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from murmur.client import uploads
from murmur.client.calls import Call
from murmur.client.client import Client
from murmur.client.connection import DEFAULT_URL
from murmur.client.errors import ApiError
from murmur.client.retry import BUSY, PATIENCE_S

POLL_S = (0.2, 2.0)
BUSY_PAUSE_S = 5.0


class TranscriptionFailed(Exception):
    """The platform refused the file, gave the job up, or can't be reached; the message says why."""


class _Routes(Client):
    """The library's own client, which tries again while the platform is away or busy, for this service's routes."""

    def get(self, path: str) -> dict[str, Any]:
        """What *path* answers. ApiError."""
        return self._run(Call(method="GET", path=path, read=_object))


class WhisperClient:
    """
    Submits files as the platform's own client does; polls their jobs and retrieves their transcripts on Production
    Scale's routes.

    Args:
        base_url: Where the platform's API is.
        timeout: Longest wait for a transcript, in seconds.
        api_key: Sent as a bearer token where the platform asks for keys.
    """

    def __init__(self, base_url: str = DEFAULT_URL, *, timeout: float = 3600.0, api_key: str | None = None) -> None:
        self._timeout_s = timeout
        self._client = _Routes(base_url, patience_s=min(PATIENCE_S, timeout), api_key=api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def transcribe_file(self, path: str | Path, **options: Any) -> dict[str, Any]:
        """
        Transcribe the file at *path* and wait for it.

        Args:
            path: A recording or video.
            options: `language="en"`, `vad_filter=True`, …; None is left out.

        Returns:
            ``text``, ``language``, ``duration`` in seconds, ``segments`` and more.

        Raises:
            TranscriptionFailed: the platform doesn't take it, or gave it up.
            TimeoutError: it isn't done after the client's `timeout`.
        """
        return self.wait(self.submit(path, **options))

    def submit(self, path: str | Path, **options: Any) -> str:
        """Hand in the file at *path*; its job's id. TranscriptionFailed."""
        key = uploads.new_key()
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._client.submit(Path(path), idempotency_key=key, **options).id
            except ApiError as error:
                # A full queue may take longer than the client is patient.
                pause = error.retry_after or BUSY_PAUSE_S
                if error.status not in BUSY or time.monotonic() + pause > deadline:
                    raise TranscriptionFailed(error.message) from error
            time.sleep(pause)

    def wait(self, job_id: str) -> dict[str, Any]:
        """The transcript of a job, once it is there. TranscriptionFailed, TimeoutError."""
        deadline = time.monotonic() + self._timeout_s
        pause, longest = POLL_S
        while True:
            status = self.get_status(job_id)["status"]
            if status not in ("queued", "processing"):
                return self.get_result(job_id)
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is still {status} after {self._timeout_s:g} s")
            time.sleep(pause)
            pause = min(2 * pause, longest)

    def get_status(self, job_id: str) -> dict[str, Any]:
        """The job: ``status``, ``progress``, … TranscriptionFailed: there is none of that id."""
        return self._got(f"/status/{job_id}")

    def get_result(self, job_id: str) -> dict[str, Any]:
        """The transcript. TranscriptionFailed: it isn't there, or won't be."""
        return self._got(f"/result/{job_id}")

    def health(self) -> dict[str, Any]:
        """What the platform says of itself. TranscriptionFailed."""
        with _told():
            return self._client.health()

    def stats(self) -> dict[str, Any]:
        """Jobs by state, queue depth, workers. TranscriptionFailed."""
        return self._got("/stats")

    def _got(self, path: str) -> dict[str, Any]:
        with _told():
            return self._client.get(path)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise TranscriptionFailed(error.message) from error


def _object(response: httpx.Response) -> dict[str, Any]:
    return dict(response.json())
