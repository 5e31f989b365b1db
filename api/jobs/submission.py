"""From a request's body to a job in the ledger: the one way in for every route and dialect."""

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from api.auth.quotas import SubmissionQuotas
from api.jobs.backpressure import Backpressure
from api.jobs.catalogue import Catalogue
from api.jobs.hints import Hints
from api.jobs.intake import Intake, JobIntake
from api.metrics.process import ApiMetrics
from api.uploads.incoming import Incoming
from api.uploads.receive import Received, RequestFormat, receive
from api.uploads.references import samples_of
from transcription.access import Principal
from transcription.errors import MalformedRequest, MurmurationError, QuotaExceeded
from transcription.job import Job, Outcome, Submission
from transcription.lanes import SPEAKERS
from transcription.media.findings import Probe
from transcription.models import is_english_only, require_english
from transcription.options import parse_options
from transcription.ports import BlobStore, JobStore
from transcription.settings import Limits
from transcription.settings.outbound import Outbound

_KEY_LIMIT = 255


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
    intake: Intake
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

        Nothing is kept before it is known that it can be transcribed: options, model, samples and content are checked
        while all of it is still part files. *request_format* is how a dialect spells that; by default the native way.

        Returns:
            The job, durable in the ledger, and what it met there.

        Raises:
            InvalidRequest, InvalidAudio, Unavailable: see their leaves; nothing usable is left behind.
        """
        began = time.perf_counter()
        try:
            with self.meters.submits_in_flight.track_inprogress():
                job, outcome = await self._submit(incoming, tenant, idempotency_key, request_format or RequestFormat())
        except MurmurationError as error:
            self.meters.refused(error.code)
            raise
        self.meters.submitted(outcome, audio_bytes=job.audio.bytes, seconds=time.perf_counter() - began)
        return job, outcome

    async def _submit(
        self, incoming: Incoming, tenant: str, idempotency_key: str | None, request_format: RequestFormat
    ) -> tuple[Job, Outcome]:
        _check_key(idempotency_key)
        try:
            await self.submission_quotas.check(incoming.client, incoming.limit_states)
        except QuotaExceeded:
            if not await self._repeats(idempotency_key, tenant):
                raise
        await self.backpressure.check(coming_bytes=incoming.declared_bytes)
        async with self.intake.of_job(uuid.uuid4().hex) as intake:
            submission = await self._take_in(incoming, intake, tenant, idempotency_key, request_format)
            return await self._record(incoming.client, submission)

    async def _take_in(
        self,
        incoming: Incoming,
        intake: JobIntake,
        tenant: str,
        idempotency_key: str | None,
        request_format: RequestFormat,
    ) -> Submission:
        async with receive(
            incoming, blobs=self.blobs, limits=self.limits, outbound=self.outbound, request_format=request_format
        ) as received:
            fields, samples = samples_of(request_format.options(received))
            options = self.submission_quotas.with_retention(
                incoming.client, parse_options(fields), request_format.ttl_s
            )
            model = await self.catalogue.resolve(options.model)
            if is_english_only(model.name):
                require_english(model.name, task=options.task, language=options.language, languages=options.languages)
            diarizer = await self.catalogue.diarizer() if options.diarize else None
            kept = await intake.keep(received, samples, options)
        return Submission(
            job_id=intake.job_id,
            tenant=tenant,
            audio=kept.audio,
            model=model.name,
            revision=model.revision,
            options=options,
            idempotency_key=idempotency_key,
            request_id=incoming.request_id,
            traceparent=incoming.traceparent,
            diarizer=diarizer,
            references=kept.references,
            channels=kept.channels,
        )

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
            yield received, await self.intake.look(received)

    async def forget(self, job_id: str, *, tenant: str) -> None:
        """Delete a job, and at once the result and audio that nobody else holds. JobNotFound."""
        unneeded = await self.jobs.forget(job_id, tenant=tenant)
        for sha256 in unneeded:
            await self.intake.discard(sha256)

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


def _check_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= _KEY_LIMIT and key.isascii() and key.isprintable()):
        raise MalformedRequest(f"Idempotency-Key must be 1 to {_KEY_LIMIT} printable ASCII characters")
