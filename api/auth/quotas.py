"""What a client may still hand in: looked at before its upload, taken when its job is recorded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from api.auth.rate_limits import LimitState, RateLimits, tier_of
from transcription.access import Principal
from transcription.errors import InvalidOption, LedgerUnavailable, OutcomeUnknown
from transcription.job import Outcome, Submission
from transcription.options import SHORTEST_TTL_S, Options
from transcription.ports import QuotaBook
from transcription.settings import Settings

# Where a container doesn't say how long it is, its bytes do, as in speech at 32 kbit/s.
_BYTES_PER_S = 4000


@dataclass(slots=True)
class Charge:
    """A submission at the expense of a client's quotas; ``outcome`` is what it met, None until that is known."""

    submission: Submission
    outcome: Outcome | None = None


class SubmissionQuotas:
    """Rates and quotas of submits."""

    def __init__(self, settings: Settings, *, rates: RateLimits, quotas: QuotaBook | None) -> None:
        self._settings = settings
        self._rates = rates
        self._quotas = quotas

    async def check(self, client: Principal, limit_states: list[LimitState]) -> None:
        """
        Count a submit, and refuse what will be refused anyway, before its body is read.

        Raises:
            RateLimited, QuotaExceeded, LedgerUnavailable.
        """
        await self._rates.submit(client, limit_states)
        if self._quotas is not None:
            await self._quotas.take(client.tenant, tier_of(client, self._settings))

    def with_retention(self, client: Principal, options: Options, usual_s: int | None) -> Options:
        """
        Options with the time for which the client's result is kept.

        Where it asks for none this is what its request has usually, *usual_s* seconds (None: as any), but no longer
        than the platform and the client's tier keep results.

        Raises:
            InvalidOption: it asks for more than its tier allows.
        """
        longest = tier_of(client, self._settings).max_ttl_s
        if options.ttl_s is not None:
            if longest and options.ttl_s > longest:
                raise InvalidOption(
                    f"ttl_s: {options.ttl_s} s is longer than your tier keeps a result: {longest} s "
                    "(MURMUR_SECURITY__TIERS, max_ttl_s)"
                )
            return options
        platforms_s = self._settings.retention.result_ttl_s
        kept_s = min(each for each in (usual_s, longest, platforms_s) if each)
        # None goes on following the platform's setting, which may be shortened while the job is there.
        return options if kept_s == platforms_s else options.model_copy(update={"ttl_s": max(kept_s, SHORTEST_TTL_S)})

    @asynccontextmanager
    async def charged(self, client: Principal, submission: Submission) -> AsyncIterator[Charge]:
        """
        Let the block submit at the expense of the client's quotas; what needs no computing of its own costs nothing.

        The block submits ``charge.submission`` and sets ``charge.outcome``. An error gives back what was taken, but for
        OutcomeUnknown: the job may run.

        Raises:
            QuotaExceeded, LedgerUnavailable.
        """
        tier = tier_of(client, self._settings)
        submission = replace(submission, max_jobs=tier.stored_jobs, max_bytes=tier.stored_bytes)
        if self._quotas is None:
            yield Charge(submission)
            return
        tenant, job_id = submission.tenant, submission.job_id
        audio_s = submission.audio.duration_s or submission.audio.bytes / _BYTES_PER_S
        await self._quotas.take(tenant, tier, job_id=job_id, audio_s=audio_s)
        charge = Charge(replace(submission, charged_s=audio_s if tier.audio_s_per_day else None))
        try:
            yield charge
        except OutcomeUnknown:
            raise
        except Exception:
            with suppress(LedgerUnavailable):
                await self._quotas.restore(tenant, tier, job_id=job_id, audio_s=audio_s)
            raise
        if charge.outcome is not Outcome.NEW:
            open_id = "" if charge.outcome is Outcome.JOINED else job_id
            with suppress(LedgerUnavailable):  # the job was accepted, whatever becomes of this
                await self._quotas.restore(tenant, tier, job_id=open_id, audio_s=audio_s)
