"""Quotas in the ledger: jobs that a tenant has at once, and audio that it has computed in a day."""

import math
from typing import Any

from redis.asyncio import Redis

from transcription.errors import QuotaExceeded
from transcription.ledger.connections.errors import translated
from transcription.ledger.records.values import ms
from transcription.ledger.scripts import Scripts
from transcription.settings.security import Tier

_JOBS_RETRY_S = 10


class RedisQuotas:
    """A QuotaBook on Redis: checking and taking are one step, so requests that come together can't exceed a quota."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._scripts = Scripts(client, audit_length=0)

    async def take(self, tenant: str, tier: Tier, *, job_id: str = "", audio_s: float = 0.0) -> None:
        """
        Take a job and its audio from the tenant's quotas; without *job_id* only look.

        Raises:
            QuotaExceeded: too many jobs at once, or too much audio in this day.
            LedgerUnavailable: nothing is known of the quotas.
        """
        if not (tier.concurrent_jobs or tier.audio_s_per_day):
            return
        limits = (tier.concurrent_jobs, tier.audio_s_per_day * 1000)
        with translated():
            answer: Any = await self._scripts.call("allow", tenant, *limits, job_id, ms(audio_s))
        verdict, jobs, used_ms, left_ms = answer
        if verdict == "jobs":
            raise QuotaExceeded(
                f"{jobs} of your jobs wait or run; your tier has {tier.concurrent_jobs} at once",
                retry_after_s=_JOBS_RETRY_S,
            )
        if verdict == "audio":
            raise QuotaExceeded(
                f"{used_ms / 1000:.0f} s of audio were taken today (UTC) and {audio_s:.0f} s were to come; your tier "
                f"has {tier.audio_s_per_day} s a day",
                retry_after_s=math.ceil(left_ms / 1000),
            )

    async def restore(self, tenant: str, tier: Tier, *, job_id: str, audio_s: float) -> None:
        """Give back what was taken for a job that needs it no more; with an empty *job_id* only the audio."""
        if tier.concurrent_jobs or tier.audio_s_per_day:
            with translated():
                await self._scripts.call("restore", tenant, job_id, ms(audio_s))
