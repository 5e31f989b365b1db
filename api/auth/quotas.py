"""What a client may still hand in: looked at before its upload, taken when its job is recorded."""

from contextlib import suppress
from dataclasses import replace

from fastapi import Request

from api.auth.audit import asking
from api.auth.rate_limits import RateLimits, tier_of
from transcription.access import Principal
from transcription.errors import InvalidOption, LedgerUnavailable, OutcomeUnknown
from transcription.job import Job, Outcome, Submission
from transcription.options import Options
from transcription.ports import JobStore, QuotaBook
from transcription.settings import Settings

# Where a container doesn't say how long it is, its bytes do, as in speech at 32 kbit/s.
_BYTES_PER_S = 4000


class SubmissionQuotas:
    """Rates and quotas of submits."""

    def __init__(self, settings: Settings, *, rates: RateLimits, quotas: QuotaBook | None) -> None:
        self._settings = settings
        self._rates = rates
        self._quotas = quotas

    async def check(self, request: Request) -> None:
        """
        Count a submit, and refuse what will be refused anyway, before its body is read.

        Raises:
            RateLimited, QuotaExceeded, LedgerUnavailable.
        """
        client = caller(request)
        await self._rates.submit(client, getattr(request.state, "limit_states", []))
        if self._quotas is not None:
            await self._quotas.take(client.tenant, tier_of(client, self._settings))

    def check_options(self, request: Request, options: Options) -> None:
        """Refuse what the client's tier doesn't allow. InvalidOption."""
        longest = tier_of(caller(request), self._settings).max_ttl_s
        if longest and options.ttl_s is not None and options.ttl_s > longest:
            raise InvalidOption(
                f"ttl_s: {options.ttl_s} s is longer than your tier keeps a result: {longest} s "
                "(MURMUR_SECURITY__TIERS, max_ttl_s)"
            )

    async def record(self, request: Request, jobs: JobStore, submission: Submission) -> tuple[Job, Outcome]:
        """
        Submit to *jobs*, at the expense of the client's quotas; what needs no computing of its own costs nothing.

        Raises:
            QuotaExceeded, IdempotencyConflict, LedgerUnavailable.
        """
        tier = tier_of(caller(request), self._settings)
        submission = replace(submission, max_jobs=tier.stored_jobs, max_bytes=tier.stored_bytes)
        if self._quotas is None:
            return await jobs.submit(submission)
        tenant, job_id = submission.tenant, submission.job_id
        audio_s = submission.audio.duration_s or submission.audio.bytes / _BYTES_PER_S
        await self._quotas.take(tenant, tier, job_id=job_id, audio_s=audio_s)
        try:
            job, outcome = await jobs.submit(replace(submission, charged_s=audio_s if tier.audio_s_per_day else None))
        except OutcomeUnknown:
            raise  # the job may run
        except Exception:
            with suppress(LedgerUnavailable):
                await self._quotas.restore(tenant, tier, job_id=job_id, audio_s=audio_s)
            raise
        if outcome is not Outcome.NEW:
            open_id = "" if outcome is Outcome.JOINED else job_id
            with suppress(LedgerUnavailable):  # the job was accepted, whatever becomes of this
                await self._quotas.restore(tenant, tier, job_id=open_id, audio_s=audio_s)
        return job, outcome


def caller(request: Request) -> Principal:
    """The client, as the access middleware identified it."""
    client: Principal = getattr(request.state, "client", Principal())
    return client


def act_as(request: Request, client: Principal) -> None:
    """Replace the client of this request by *client*, from here on: in rate limits, quotas and the audit log."""
    request.state.client = client
    asking.set((client, getattr(request.state, "request_id", "")))
