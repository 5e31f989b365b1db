"""
The client library for asyncio: `Client`, awaited.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.transcribe("talk.mp3", language="en")).text)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from murmur.client import calls, events, uploads
from murmur.client.calls import Call
from murmur.client.connection import HELD_S, Connection, Wait
from murmur.client.errors import ApiError, NotFound, ended, unreachable
from murmur.client.responses import (
    RemoteDeadLetter,
    RemoteEvent,
    RemoteJob,
    RemotePage,
    RemoteSegment,
    RemoteTranscript,
    RemoteWebhooks,
)
from murmur.client.retry import PATIENCE_S, Patience
from murmur.client.uploads import Audio, Progress, Upload

T = TypeVar("T")


class AsyncClient(Connection):
    """
    Talks to one platform, from one event loop.

    Args:
        url: Where the platform's API is; by default `MURMUR_URL`, or this machine.
        api_key: Sent with every call where the platform asks for one; by default `MURMUR_API_KEY`.
        timeout_s: Longest silence of the server.
        patience_s: How long, from its first failure on, a call is tried again while the platform is away (a restart)
            or answers 429, 502, 503 or 504; after the `Retry-After` that it names, or growing pauses. 0: never.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 60.0,
        patience_s: float = PATIENCE_S,
        api_key: str | None = None,
    ) -> None:
        super().__init__(url, timeout_s=timeout_s, patience_s=patience_s, api_key=api_key)
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout_s, headers=self._headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def transcribe(self, audio: Audio, *, seconds: float | None = None, **options: Any) -> RemoteTranscript:
        """
        Transcribe a recording, and wait for it.

        Args:
            audio: A path, bytes, a file or pipe opened for reading, or a URL (`https://…`) that the platform fetches.
            seconds: Longest wait.
            options: As for `submit`.

        Raises:
            JobEnded, TimeoutError, ApiError, OSError: see `wait` and `submit`.
        """
        job = await self.wait((await self.submit(audio, **options)).id, seconds=seconds)
        return await self.transcript(job.id)

    async def submit(
        self,
        audio: Audio,
        *,
        filename: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> RemoteJob:
        """
        Send a recording and get its job. A file is read piece by piece; a pipe is copied to one first.

        Args:
            audio: A path, bytes, a file or pipe opened for reading, or a URL (`https://…`) that the platform fetches.
            filename: What the recording is called; by default the file's own name.
            idempotency_key: The same key with the same recording gives the same job; by default a new one, so that
                tries after a broken connection make one job.
            progress: Told of bytes sent and of all there are, again and again.
            options: What the API takes: ``language="de"``, ``word_timestamps=True``, …; None is left out. Samples of
                known speakers may be paths or bytes: ``known_speakers={"Anna": "anna.wav"}``.

        Raises:
            ApiError: the platform doesn't take it.
            OSError: the file can't be read.
        """
        key = idempotency_key or uploads.new_key()
        made = asyncio.to_thread(Upload.of, audio, options, filename=filename, key=key, progress=progress)
        with contextlib.closing(await made) as upload:
            return await self._run(calls.submit(), upload)

    async def job(self, job_id: str, *, wait: float | None = None) -> RemoteJob:
        """The job as it is now, or, with *wait*, at its end if that comes within so many seconds. ApiError."""
        return await self._run(calls.job(job_id, wait))

    async def wait(self, job_id: str, *, seconds: float | None = None, each_s: float = HELD_S) -> RemoteJob:
        """
        Wait for a job's completion.

        Raises:
            JobEnded: it failed, was canceled or has expired.
            TimeoutError: it is still running after *seconds*.
            ApiError: the platform couldn't be asked.
        """
        wait = Wait(job_id, seconds, each_s)
        while not wait.over(job := await self.job(job_id, wait=wait.held_s())):
            pass
        return job

    async def stream(self, audio: Audio | RemoteJob, **options: Any) -> AsyncIterator[RemoteSegment]:
        """
        Transcribe a recording, and yield its segments as they are computed.

        Args:
            audio: As for `submit`, or a job that is there already.
            options: As for `submit`.

        Raises:
            JobEnded, ApiError, OSError: see `wait` and `submit`.
        """
        job = audio if isinstance(audio, RemoteJob) else await self.submit(audio, **options)
        async for event in self.events(job.id):
            if event.type == "segment":
                yield RemoteSegment.model_validate(event.data)
            elif event.type == "failed":
                raise ended(await self.job(job.id))

    async def events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[RemoteEvent]:
        """
        Follow a job to its end. A connection that breaks is taken up again where it was.

        Args:
            job_id: The job.
            after: The id of an event: go on after it.

        Raises:
            ApiError: there is no such job, or the platform was away for longer than the client is patient.
        """
        patience = Patience(self._patience_s)
        while True:
            try:
                async for event in events.astream(self._http, job_id, after):
                    if event is None:
                        return
                    after = event.id
                    patience.renew()
                    yield event
                    if event.last:
                        return
            except ApiError as error:
                await asyncio.sleep(patience.pause_after(error))

    async def transcript(self, job_id: str) -> RemoteTranscript:
        """A completed job's transcript with its segments. ApiError."""
        return await self._run(calls.transcript(job_id))

    async def result(self, job_id: str, format: str = "json", *, partial: bool = False) -> Any:  # noqa: A002  the API's word
        """
        Fetch the transcript: a dict for ``json`` and ``verbose_json``, else a str.

        Args:
            job_id: The job.
            format: ``json``, ``verbose_json``, ``text``, ``srt``, ``vtt`` or ``tsv``.
            partial: Take what there is before the job's end.

        Raises:
            ApiError: there is none: ``result_not_ready``, ``job_failed``, …
        """
        return await self._run(calls.result(job_id, format, partial=partial))

    async def jobs(
        self, *, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> RemotePage:
        """One page of jobs, newest first. ApiError."""
        return await self._run(calls.jobs(status=status, limit=limit, cursor=cursor))

    async def name_speakers(self, job_id: str, names: Mapping[str, str]) -> RemoteJob:
        """Call speakers by their names from now on: ``{"A": "Anna"}``. ApiError: nobody is called so."""
        return await self._run(calls.name_speakers(job_id, names))

    async def cancel(self, job_id: str) -> RemoteJob:
        """Give the job up. ApiError: it has finished, or isn't there."""
        return await self._run(calls.cancel(job_id))

    async def delete(self, job_id: str) -> None:
        """Forget the job, and the audio and result that nobody else holds. ApiError."""
        await self._run(calls.delete(job_id))

    async def webhooks(self, job_id: str) -> RemoteWebhooks:
        """What was sent to the job's ``webhook_url``, and what came of it. ApiError."""
        return await self._run(calls.webhooks(job_id))

    async def replay_webhook(self, job_id: str) -> RemoteWebhooks:
        """Send the job's last message again, under the same id. ApiError: it has none."""
        return await self._run(calls.replay_webhook(job_id))

    async def health(self) -> dict[str, Any]:
        """What the platform says of itself, well or not; asked once. ApiError: it can't be reached."""
        return await self._run(calls.health())

    async def ready(self) -> bool:
        """Whether the platform can do work now: its ledger answers and a worker lives."""
        try:
            # Not /health/ready: what answers 503 stands in the log, and whoever waits asks often.
            health = await self.health()
        except ApiError:
            return False
        return bool(health.get("ledger") and health.get("workers"))

    async def stats(self) -> dict[str, Any]:
        """Jobs by state, queue depth, workers. ApiError."""
        return await self._run(calls.stats())

    async def workers(self) -> list[dict[str, Any]]:
        """The live workers, each with its models, engine, device, host and process id. ApiError."""
        return await self._run(calls.workers())

    async def models(self) -> list[dict[str, Any]]:
        """The models that live workers serve, with engine and device. ApiError."""
        return await self._run(calls.models())

    async def dead_letters(self) -> list[RemoteDeadLetter]:
        """What failed though another try might help, the latest first. ApiError."""
        return await self._run(calls.dead_letters())

    async def dead_letter(self, computation: str) -> RemoteDeadLetter:
        """One dead letter. ApiError: there is none of that name."""
        return await self._run(calls.dead_letter(computation))

    async def retry_dead_letter(self, computation: str) -> None:
        """Try it again, with every option of its jobs. ApiError: there is none of that name."""
        await self._run(calls.retry_dead_letter(computation))

    async def drop_dead_letter(self, computation: str) -> None:
        """Take it off the list; its jobs stay failed. ApiError: there is none of that name."""
        await self._run(calls.drop_dead_letter(computation))

    async def _run(self, call: Call[T], upload: Upload | None = None) -> T:
        patience = Patience(self._patience_s if call.patient else 0.0)
        asked = call
        while True:
            try:
                return await self._send(asked, upload if asked is call else None)
            except ApiError as error:
                if asked is call or not isinstance(error, NotFound):
                    await asyncio.sleep(patience.pause_after(error))
                asked = calls.after(error, call, asked)

    async def _send(self, call: Call[T], upload: Upload | None) -> T:
        """One try. ApiError."""
        try:
            if upload is None:
                response = await self._http.request(**self._arguments(call, None))
            else:
                with upload.request() as body:
                    response = await self._http.request(**self._arguments(call, body))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        return self._answer(call, response)
