"""From a request's body to a job in the ledger: the one way in for every route and dialect."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from api.auth.quotas import SubmissionQuotas
from api.jobs.backpressure import Backpressure
from api.jobs.catalogue import Catalogue
from api.jobs.channels import count_channels
from api.jobs.hints import Hints
from api.jobs.samples import kept
from api.metrics.process import ApiMetrics
from api.uploads.incoming import Incoming
from api.uploads.receive import Received, RequestFormat, receive
from api.uploads.references import samples_of
from transcription.access import Principal
from transcription.errors import (
    BlobMissing,
    MalformedRequest,
    MurmurationError,
    QuotaExceeded,
    ScratchFailed,
    StorageUnavailable,
)
from transcription.job import Audio, Job, Outcome, Submission
from transcription.lanes import SPEAKERS
from transcription.media.findings import Probe, Sample
from transcription.options import Options, parse_options
from transcription.ports import BlobStore, JobStore, Upload
from transcription.settings import Limits
from transcription.settings.outbound import Outbound
from transcription.storage.part_file import disk_errors

_KEY_LIMIT = 255
_DELETING_TRIES = 50
_DELETING_WAIT_S = 0.1
# The store's clock may be ahead of ours.
_CLOCKS_S = 3600.0
_RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionService:
    """Where jobs are handed in."""

    limits: Limits
    outbound: Outbound
    jobs: JobStore
    blobs: BlobStore
    hints: Hints
    lane: Callable[..., str]
    backpressure: Backpressure
    catalogue: Catalogue
    probes: Executor
    probe: Callable[[Path], Probe]
    listen: Callable[[Path], Sample]
    submission_quotas: SubmissionQuotas
    meters: ApiMetrics

    async def submit(
        self,
        incoming: Incoming,
        *,
        tenant: str,
        idempotency_key: str | None,
        request_format: RequestFormat | None = None,
    ) -> tuple[Job, Outcome]:
        """
        Take the audio and the options that *incoming* brings, make a job of them, and count what became of it.

        Nothing is kept before it is known that it can be transcribed: options, model and content are checked while
        the audio is still a part file. *request_format* is how a dialect spells all that; by default the native way.

        Returns:
            The job, durable in the ledger, and what it met there.

        Raises:
            InvalidRequest, InvalidAudio, Unavailable: see their leaves; nothing usable is left behind.
        """
        began = time.perf_counter()
        try:
            job, outcome = await self._submit(incoming, tenant, idempotency_key, request_format or RequestFormat())
        except MurmurationError as error:
            self.meters.refused(error.code)
            raise
        self.meters.submitted(outcome, audio_bytes=job.audio.bytes, seconds=time.perf_counter() - began)
        return job, outcome

    async def _submit(
        self, incoming: Incoming, tenant: str, idempotency_key: str | None, request_format: RequestFormat
    ) -> tuple[Job, Outcome]:
        job_id = uuid.uuid4().hex
        _check_key(idempotency_key)
        try:
            await self.submission_quotas.check(incoming.client, incoming.limit_states)
        except QuotaExceeded:
            if not await self._repeats(idempotency_key, tenant):
                raise
        await self.backpressure.check(coming_bytes=incoming.declared_bytes)
        async with receive(
            incoming, blobs=self.blobs, limits=self.limits, outbound=self.outbound, request_format=request_format
        ) as received:
            fields, samples = samples_of(request_format.options(received))
            options = parse_options(fields)
            self.submission_quotas.check_options(incoming.client, options)
            model = await self.catalogue.resolve(options.model)
            diarizer = await self.catalogue.diarizer() if options.diarize else None
            references = await self._keep_samples(samples, job_id=job_id)
            audio, channels = await self._keep(received, job_id=job_id, options=options)
        submission = Submission(
            job_id=job_id,
            tenant=tenant,
            audio=audio,
            model=model.name,
            revision=model.revision,
            options=options,
            idempotency_key=idempotency_key,
            request_id=incoming.request_id,
            traceparent=incoming.traceparent,
            diarizer=diarizer,
            references=references,
            channels=channels,
        )
        return await self._record(incoming.client, submission)

    @asynccontextmanager
    async def probed(self, incoming: Incoming) -> AsyncIterator[tuple[Received, Probe]]:
        """
        Take the audio that *incoming* brings and say what it is; nothing of it is kept. It counts as a submit.

        Raises:
            InvalidRequest, InvalidAudio, Unavailable: as for a submit.
        """
        await self.submission_quotas.check(incoming.client, incoming.limit_states)
        await self.backpressure.check(coming_bytes=incoming.declared_bytes)
        async with receive(incoming, blobs=self.blobs, limits=self.limits) as received:
            yield received, await self._probe(received)

    async def forget(self, job_id: str, *, tenant: str) -> None:
        """Delete a job, and at once the result and audio that nobody else holds. JobNotFound."""
        unneeded = await self.jobs.forget(job_id, tenant=tenant)
        for sha256 in unneeded:
            with store_errors():  # the sweeper deletes what can't be deleted now
                # In an upload's threads: a share that hangs holds none that answers wait for.
                discard = partial(self.blobs.discard, sha256, older_than_s=-_CLOCKS_S)
                await asyncio.get_running_loop().run_in_executor(self.probes, discard)
            await self.jobs.deleted(sha256)

    async def _keep(self, received: Received, *, job_id: str, options: Options) -> tuple[Audio, int]:
        """Keep the audio; and how many channels of it are to be transcribed by themselves, 1: it is taken as one."""
        found = await self._probe(received)
        channels = count_channels(found, options, most=self.limits.max_channels)
        await self._expect(received.upload.sha256(), job_id)
        with store_errors():
            sha256 = await received.upload.commit()
        structlog.contextvars.bind_contextvars(audio_hash=sha256, file_size_bytes=received.upload.size)
        audio = Audio(
            sha256=sha256, bytes=received.upload.size, duration_s=found.duration_s, filename=received.filename
        )
        return audio, channels

    async def _keep_samples(self, samples: Mapping[str, bytes], *, job_id: str) -> tuple[Audio, ...]:
        async def listen(path: Path) -> Sample:
            return await asyncio.get_running_loop().run_in_executor(self.probes, self.listen, path)

        async def keep(upload: Upload) -> str:
            await self._expect(upload.sha256(), job_id)
            return await upload.commit()

        with store_errors():
            return await kept(samples, self.blobs, listen=listen, keep=keep)

    async def _expect(self, sha256: str, job_id: str) -> None:
        """Keep the recording from being deleted with another's last job, while this one is on its way."""
        for _ in range(_DELETING_TRIES):
            if await self.jobs.expect(sha256, job_id=job_id):
                return
            await asyncio.sleep(_DELETING_WAIT_S)
        raise StorageUnavailable("the same recording is being deleted just now", retry_after_s=5)

    async def _probe(self, received: Received) -> Probe:
        with store_errors():
            path = await received.upload.path()
            # Codecs are C and may take a while, so they have threads of their own: neither the loop nor writes wait.
            return await asyncio.get_running_loop().run_in_executor(self.probes, self.probe, path)

    async def _record(self, client: Principal, submission: Submission) -> tuple[Job, Outcome]:
        try:
            async with self.submission_quotas.charged(client, submission) as charge:
                job, outcome = await self.jobs.submit(charge.submission)
                charge.outcome = outcome
        except QuotaExceeded:
            if not await self._repeats(submission.idempotency_key, submission.tenant):
                raise
            job, outcome = await self.jobs.submit(submission)
        structlog.contextvars.bind_contextvars(job_id=job.id, computation=job.computation, outcome=outcome.value)
        if outcome is Outcome.NEW:
            for _ in range(submission.channels):
                self.hints.send(self.lane(submission.model, languages=submission.options.possible_languages))
            if submission.diarizer is not None:
                for _ in range(1 + len(submission.references)):
                    self.hints.send(self.lane(SPEAKERS + submission.diarizer))
        return job, outcome

    async def _repeats(self, key: str | None, tenant: str) -> bool:
        """Whether there is a job under the key: it costs nothing, and its client is to hear of it."""
        return key is not None and await self.jobs.knows(key, tenant=tenant)


@contextmanager
def store_errors() -> Iterator[None]:
    """
    What the store can't do now is no fault of the request: nothing was accepted, and the same may be sent again.

    Raises:
        DiskFull, StorageUnavailable: its disk is full, or away, or lost the upload on the way.
    """
    try:
        with disk_errors():
            yield
    except (BlobMissing, ScratchFailed) as error:
        raise StorageUnavailable(
            f"the upload can't be kept now: {error.message}", retry_after_s=_RETRY_AFTER_S
        ) from error


def _check_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= _KEY_LIMIT and key.isascii() and key.isprintable()):
        raise MalformedRequest(f"Idempotency-Key must be 1 to {_KEY_LIMIT} printable ASCII characters")
