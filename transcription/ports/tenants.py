"""Who may ask, and how much."""

from typing import Protocol

from transcription.access import ApiKey
from transcription.settings.security import Tier


class KeyRing(Protocol):
    """The API keys that were given out."""

    async def find(self, secret: str) -> ApiKey | None:
        """The key of *secret*; None for one that was never given out, is revoked or has expired. LedgerUnavailable."""

    async def used(self, key: ApiKey) -> None:
        """Note that *key* was used now; never raises."""


class QuotaBook(Protocol):
    """What tenants have taken of their quotas."""

    async def take(self, tenant: str, tier: Tier, *, job_id: str = "", audio_s: float = 0.0) -> None:
        """Take a job and its audio; without *job_id* only look. QuotaExceeded, LedgerUnavailable."""

    async def restore(self, tenant: str, tier: Tier, *, job_id: str, audio_s: float) -> None:
        """Give back what was taken; with an empty *job_id* only the audio. LedgerUnavailable."""
