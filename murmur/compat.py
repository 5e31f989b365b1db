"""
The client of Production Scale's example, for scripts that were written for that service.

    from murmur.compat import WhisperClient

    client = WhisperClient("http://127.0.0.1:8000")
    print(client.transcribe_file("audio.mp3", vad_filter=True, language="en")["text"])

New scripts have more of `murmur.client.Client`.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from murmur.client.connection import DEFAULT_URL

POLL_S = (0.2, 2.0)
BUSY = (429, 503)


class TranscriptionFailed(Exception):
    """The platform refused the file, or gave the job up; the message says why."""


class WhisperClient:
    """
    Submits files, polls their jobs, retrieves their transcripts, all on Production Scale's routes.

    Args:
        base_url: Where the platform's API is.
        timeout: Longest wait for a transcript, in seconds.
        api_key: Sent as a bearer token where the platform asks for keys.
    """

    def __init__(self, base_url: str = DEFAULT_URL, *, timeout: float = 3600.0, api_key: str | None = None) -> None:
        self._timeout_s = timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=60.0, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

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
        fields = {name: _plain(value) for name, value in options.items() if value is not None}
        deadline = time.monotonic() + self._timeout_s
        while True:
            with Path(path).open("rb") as file:
                answer = self._http.post("/transcribe", files={"file": (Path(path).name, file)}, data=fields)
            pause = float(answer.headers.get("retry-after", "5"))
            if answer.status_code not in BUSY or time.monotonic() + pause > deadline:
                return str(_checked(answer)["job_id"])
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
        return _checked(self._http.get(f"/status/{job_id}"))

    def get_result(self, job_id: str) -> dict[str, Any]:
        """The transcript. TranscriptionFailed: it isn't there, or won't be."""
        return _checked(self._http.get(f"/result/{job_id}"))

    def health(self) -> dict[str, Any]:
        """What the platform says of itself."""
        found: dict[str, Any] = self._http.get("/health").json()
        return found

    def stats(self) -> dict[str, Any]:
        """Jobs by state, queue depth, workers. TranscriptionFailed."""
        return _checked(self._http.get("/stats"))


def _checked(answer: httpx.Response) -> dict[str, Any]:
    found = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    if answer.is_success and isinstance(found, dict):
        return found
    raise TranscriptionFailed(str(found.get("detail") or f"the platform answered {answer.status_code}"))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
