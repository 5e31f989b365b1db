"""
The client library.

    with Client("http://127.0.0.1:8000") as client:
        job = client.wait(client.submit("talk.mp3", language="en").id)
        print(client.result(job.id, "text"))
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from murmur.client.events import follow
from murmur.client.responses import (
    ApiError,
    JobEnded,
    RemoteDeadLetter,
    RemoteEvent,
    RemoteJob,
    RemotePage,
    RemoteWebhooks,
)
from transcription.job import Status

DEFAULT_URL = "http://127.0.0.1:8000"
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Client:
    """
    Talks to one platform. Safe to share between threads.

    Args:
        url: Where the platform's API is.
        timeout_s: Longest silence of the server.
        patience_s: How long a call is tried again while the platform answers 429 or 503; 0: never.
        api_key: Sent with every call where the platform asks for one; by default `MURMUR_API_KEY`.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, timeout_s: float = 60.0, patience_s: float = 0.0, api_key: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        api_key = api_key or os.environ.get("MURMUR_API_KEY")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def submit(self, audio: str | Path | BinaryIO, *, idempotency_key: str | None = None, **options: Any) -> RemoteJob:
        """
        Send a recording and get its ticket. The file is read piece by piece.

        Args:
            audio: A path, or a file opened for reading whose ``name`` is sent along.
            idempotency_key: The same key with the same recording gives the same job.
            options: What the API takes: ``language="de"``, ``word_timestamps=True``, …; None is left out.

        Raises:
            ApiError: the platform doesn't take it.
            OSError: the file can't be read.
        """
        fields = {name: _plain(value) for name, value in options.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}

        def send() -> httpx.Response:
            with _opened(audio) as file:
                name = Path(str(getattr(file, "name", "audio"))).name
                return self._http.post("/v1/jobs", files={"file": (name, file)}, data=fields, headers=headers)

        return RemoteJob.model_validate(self._answer(send).json())

    def job(self, job_id: str, *, wait: float | None = None) -> RemoteJob:
        """The job as it is now, or, with *wait*, at its end if that comes within so many seconds. ApiError."""
        return RemoteJob.model_validate(self._get(f"/v1/jobs/{job_id}", wait=wait).json())

    def wait(self, job_id: str, *, seconds: float | None = None, each_s: float = 10.0) -> RemoteJob:
        """
        Wait for a job's completion.

        Raises:
            JobEnded: it failed, was canceled or has expired.
            TimeoutError: it is still running after *seconds*.
            ApiError: the platform couldn't be asked.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = each_s if deadline is None else min(each_s, deadline - time.monotonic())
            job = self.job(job_id, wait=max(0.0, left))
            if job.status is Status.COMPLETED:
                return job
            if job.status.terminal:
                raise JobEnded(job)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is still {job.status.value} after {seconds:g} s")

    def events(self, job_id: str, *, after: str | None = None) -> Iterator[RemoteEvent]:
        """
        Follow a job to its end, segment by segment. A connection that breaks is taken up again where it was.

        Args:
            job_id: The job.
            after: The id of an event: go on after it.

        Raises:
            ApiError: there is no such job, or the platform was away for a minute.
        """
        try:
            yield from follow(self._http, job_id, after)
        except httpx.HTTPStatusError as error:
            raise _refusal(error.response) from None

    def result(self, job_id: str, format: str = "json", *, partial: bool = False) -> Any:  # noqa: A002  the API's word
        """
        Fetch the transcript: a dict for ``json`` and ``verbose_json``, else a str.

        Args:
            job_id: The job.
            format: ``json``, ``verbose_json``, ``text``, ``srt``, ``vtt`` or ``tsv``.
            partial: Take what there is before the job's end.

        Raises:
            ApiError: there is none: ``result_not_ready``, ``job_failed``, …
        """
        answer = self._get(f"/v1/jobs/{job_id}/result", format=format, partial=partial or None)
        return answer.json() if format in ("json", "verbose_json") else answer.text

    def jobs(self, *, status: str | None = None, limit: int | None = None, cursor: str | None = None) -> RemotePage:
        """One page of jobs, newest first. ApiError."""
        return RemotePage.model_validate(self._get("/v1/jobs", status=status, limit=limit, cursor=cursor).json())

    def cancel(self, job_id: str) -> RemoteJob:
        """Give the job up. ApiError: it has finished, or isn't there."""
        return RemoteJob.model_validate(self._answer(lambda: self._http.post(f"/v1/jobs/{job_id}/cancel")).json())

    def delete(self, job_id: str) -> None:
        """Forget the job, and the audio and result that nobody else holds. ApiError."""
        self._answer(lambda: self._http.delete(f"/v1/jobs/{job_id}"))

    def webhooks(self, job_id: str) -> RemoteWebhooks:
        """What was sent to the job's ``webhook_url``, and what came of it. ApiError."""
        return RemoteWebhooks.model_validate(self._dict(f"/v1/jobs/{job_id}/webhooks"))

    def replay_webhook(self, job_id: str) -> RemoteWebhooks:
        """Send the job's last message again, under the same id. ApiError: it has none."""
        answer = self._answer(lambda: self._http.post(f"/v1/jobs/{job_id}/webhooks/replay"))
        return RemoteWebhooks.model_validate(answer.json())

    def health(self) -> dict[str, Any]:
        """What the platform says of itself, well or not. ApiError: it can't be reached."""
        return self._dict("/health", also=(503,))

    def ready(self) -> bool:
        """Whether the platform can do work now: its ledger answers and a worker lives."""
        try:
            # Not /health/ready: what answers 503 stands in the log, and whoever waits asks often.
            health = self.health()
        except ApiError:
            return False
        return bool(health.get("ledger") and health.get("workers"))

    def stats(self) -> dict[str, Any]:
        """Jobs by state, queue depth, workers. ApiError."""
        return self._dict("/stats")

    def workers(self) -> list[dict[str, Any]]:
        """The live workers, each with its models, engine, device, host and process id. ApiError."""
        workers: list[dict[str, Any]] = self._dict("/health/async")["workers"]
        return workers

    def models(self) -> list[dict[str, Any]]:
        """The models that live workers serve, with engine and device. ApiError."""
        models: list[dict[str, Any]] = self._dict("/v1/models")["data"]
        return models

    def dead_letters(self) -> list[RemoteDeadLetter]:
        """What failed though another try might help, the latest first. ApiError."""
        return [RemoteDeadLetter.model_validate(letter) for letter in self._dict("/admin/dead")["dead_letters"]]

    def dead_letter(self, computation: str) -> RemoteDeadLetter:
        """One dead letter. ApiError: there is none of that name."""
        return RemoteDeadLetter.model_validate(self._dict(f"/admin/dead/{computation}"))

    def retry_dead_letter(self, computation: str) -> None:
        """Try it again, with every option of its jobs. ApiError: there is none of that name."""
        self._answer(lambda: self._http.post(f"/admin/dead/{computation}/retry"))

    def drop_dead_letter(self, computation: str) -> None:
        """Take it off the list; its jobs stay failed. ApiError: there is none of that name."""
        self._answer(lambda: self._http.delete(f"/admin/dead/{computation}"))

    def _get(self, path: str, **query: str | float | None) -> httpx.Response:
        given = {name: value for name, value in query.items() if value is not None}
        # The server is silent for as long as it was asked to wait.
        timeout = self._timeout_s + float(given.get("wait", 0))
        return self._answer(lambda: self._http.get(path, params=given, timeout=timeout))

    def _dict(self, path: str, *, also: tuple[int, ...] = ()) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(lambda: self._http.get(path), also=also).json()
        return found

    def _answer(self, send: Callable[[], httpx.Response], *, also: tuple[int, ...] = ()) -> httpx.Response:
        deadline = time.monotonic() + self._patience_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                response = send()
            except httpx.TransportError as error:
                raise ApiError("unreachable", f"no answer from {self.url}: {_describe(error)}", 0) from error
            if response.is_success or response.status_code in also:
                return response
            refusal = _refusal(response)
            wait = pause if refusal.retry_after is None else refusal.retry_after
            if response.status_code not in (429, 503) or time.monotonic() + wait > deadline:
                raise refusal
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_S)


@contextlib.contextmanager
def _opened(audio: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(audio, str | Path):
        with Path(audio).open("rb") as file:
            yield file
    else:
        # A second try sends the file from its beginning again.
        audio.seek(0)
        yield audio


def _plain(value: object) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return str(value)


def _describe(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _refusal(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    named = response.headers.get("retry-after", "")
    return ApiError(
        str(problem.get("code") or f"http_{response.status_code}"),
        str(problem.get("detail") or problem.get("title") or response.reason_phrase),
        response.status_code,
        float(named) if named.replace(".", "", 1).isdigit() else None,
    )
