"""What both clients have in common: the platform's address, how a call is written, and what its answer means."""

import os
import time
from typing import Any, TypeVar

import httpx

from murmur.client.calls import Call
from murmur.client.errors import Unreachable, ended, refusal, unexpected
from murmur.client.responses import RemoteJob, Status

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
HELD_S = 10.0
"""For how long the server is asked to hold an answer."""


class Connection:
    """
    One platform, as `Client` and `AsyncClient` know it; neither waits nor sends anything itself.

    Raises:
        Unreachable: *url*, or `MURMUR_URL`, is no address.
    """

    def __init__(self, url: str | None, *, timeout_s: float, patience_s: float, api_key: str | None) -> None:
        self.url = (url or os.environ.get("MURMUR_URL") or DEFAULT_URL).rstrip("/")
        if not _is_address(self.url):
            raise Unreachable("unreachable", f"{self.url!r} is no platform's address; one looks like {DEFAULT_URL}", 0)
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        api_key = api_key or os.environ.get("MURMUR_API_KEY")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def _arguments(self, call: Call[T], upload: dict[str, Any] | None) -> dict[str, Any]:
        """What httpx's `request` is given for *call*; *upload* is the body of a submit."""
        content = {"params": call.query, "json": call.json} if upload is None else upload
        # The server is silent for as long as it was asked to wait.
        return {"method": call.method, "url": call.path, "timeout": self._timeout_s + call.held_s, **content}

    def _answer(self, call: Call[T], response: httpx.Response) -> T:
        """What *response* means. ApiError: it is a refusal, or nothing that a platform says."""
        if not (response.is_success or response.status_code in call.also):
            raise refusal(response)
        try:
            return call.read(response)
        except (ValueError, LookupError, TypeError) as error:
            raise unexpected(self.url, response, error) from error


def _is_address(url: str) -> bool:
    try:
        return httpx.URL(url).scheme in ("http", "https")
    except httpx.InvalidURL:
        return False


class Wait:
    """A wait for a job's completion, one question to the server after the other."""

    def __init__(self, job_id: str, seconds: float | None, each_s: float) -> None:
        self._job_id, self._seconds, self._each_s = job_id, seconds, each_s
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def held_s(self) -> float:
        """For how long the server is asked to hold its next answer."""
        left = self._each_s if self._deadline is None else min(self._each_s, self._deadline - time.monotonic())
        return max(0.0, left)

    def over(self, job: RemoteJob) -> bool:
        """Whether the job is completed. JobEnded: it never will be; TimeoutError: the time is over."""
        if job.status is Status.COMPLETED:
            return True
        if job.status.terminal:
            raise ended(job)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimeoutError(f"job {self._job_id} is still {job.status.value} after {self._seconds:g} s")
        return False
