"""Everything that the ledger keeps of one tenant, deleted."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from transcription.ledger.connections.errors import translated
from transcription.ledger.scripts import PREFIX, Scripts
from transcription.ports import ResultStore
from transcription.settings import Settings

_OF_TENANT = (
    "open:{}",
    "idem:{}:*",
    "used:{}:*",
    "gone:{}:*",
    "sending:{}",
    "sending:{}:*",
    "silent:{}:*",
)
_SECRETS = "hooksecrets:{}"
_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "*?[]^-\\"})


class TenantStore:
    """What an operator may do with a whole tenant. Every call may raise LedgerUnavailable."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._scripts = Scripts(client, audit_length=settings.ledger.audit_length)

    def purge(self, tenant: str, *, discard: Callable[[str], None], results: ResultStore | None = None) -> int:
        """
        Delete every job of *tenant*, whatever its state, with what nobody else holds, and all traces in other keys.

        Args:
            tenant: Its name.
            discard: Deletes the bytes with a SHA-256.
            results: Has the results that have left the ledger; without it maintenance deletes them soon.

        Returns:
            How many jobs there were.
        """
        count = 0
        with translated():
            for kind in ("jobs", "expired"):
                while ids := self._client.zrange(f"{PREFIX}{kind}:{tenant}", 0, 499):
                    for job_id in ids:
                        self._forget(str(job_id), tenant, discard, results)
                        count += 1
            for pattern in _OF_TENANT:
                names = list(self._client.scan_iter(PREFIX + pattern.format(tenant.translate(_SPECIAL)), count=1000))
                if names:
                    self._client.delete(*names)
            self._client.delete(PREFIX + _SECRETS.format(tenant))
            self._client.hdel(f"{PREFIX}stored", tenant)
            with suppress(ResponseError):  # one is under way: the next will find all gone
                self._client.bgrewriteaof()
        return count

    def _forget(self, job_id: str, tenant: str, discard: Callable[[str], None], results: ResultStore | None) -> None:
        answer: Any = self._scripts.call("forget", job_id, tenant)
        if answer == "unknown":
            self._client.zrem(f"{PREFIX}jobs:{tenant}", job_id)
            return
        if results is not None:
            for name in answer[1]:
                results.delete(name)
                self._client.zrem(f"{PREFIX}dropped", name)
        for sha256 in answer[2:]:
            discard(sha256)
            self._client.delete(f"{PREFIX}deleting:{sha256}")
