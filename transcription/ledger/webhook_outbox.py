"""The ledger's outbox: messages are put there by the very step that ends a job, and stay until they are settled."""

from typing import Any

import orjson
from redis.asyncio import Redis

from transcription.errors import JobNotFound, NoWebhook
from transcription.ledger.connections.errors import translated
from transcription.ledger.records.values import ms, seconds, warnings
from transcription.ledger.scripts import PREFIX, Scripts, pairs
from transcription.settings import Settings
from transcription.webhook import DeliveryLog, Message, PendingDelivery, Try, Verdict

LOG_LENGTH = 50

WAKE = PREFIX + "outbox:wake"
"""The list in which an entry comes when a message is due."""

OF_TENANT, OF_HOST = 8, 4
"""Messages of a tenant that are sent at once, by all workers together, and those of them to one host."""

NO_PLACE_S = 0.5
MAX_SILENCES = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0
"""A host that gave no answer five times in a row is left alone for so long; then one message at a time tries it."""

_AGAIN = 20
GONE_S = 7 * 86_400.0


class RedisOutbox:
    """An Outbox on Redis: workers claim and settle, the API shows and replays."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self.due_in_s: float | None = None
        self._scripts = Scripts(client, audit_length=settings.ledger.audit_length)

    async def claim(self, *, lease_s: float) -> Message | None:
        """
        Take the message that has been due the longest, of those whose tenant and host have a place free.

        Nobody else gets it for *lease_s*. LedgerUnavailable.
        """
        with translated():
            for _ in range(_AGAIN):
                limits = (OF_TENANT, OF_HOST, ms(NO_PLACE_S), MAX_SILENCES)
                found = await self._scripts.call("outbox_claim", ms(lease_s), LOG_LENGTH, *limits)
                if found != "again":
                    break
        if isinstance(found, list):
            return _message(pairs(found[0]), found[1], int(found[2]), found[3])
        self.due_in_s = 0.0 if found == "again" else seconds(found)
        return None

    async def settle(
        self, message: Message, outcome: Verdict, *, retry_in_s: float | None, status: int, error: str, took_s: float
    ) -> bool:
        """Write what a try came to; False when another worker has the message by now. LedgerUnavailable."""
        delay = -1 if retry_in_s is None else ms(retry_in_s)
        breaker = (MAX_SILENCES, ms(FIRST_PAUSE_S), ms(LONGEST_PAUSE_S))
        args = (message.id, message.attempt, outcome.value, delay, status, error[:500], ms(took_s))
        with translated():
            return bool(await self._scripts.call("outbox_settle", *args, LOG_LENGTH, ms(GONE_S), *breaker) == "ok")

    async def log(self, job_id: str, *, tenant: str) -> DeliveryLog:
        """What was sent for a job, and what came of it. JobNotFound, LedgerUnavailable."""
        with translated():
            found = await self._scripts.call("outbox_log", job_id, tenant)
        if found == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        url, messages, tries = found
        return DeliveryLog(
            url=url or None,
            messages=tuple(
                _pending_delivery(pairs(row), due) for row, due in zip(messages[::2], messages[1::2], strict=True)
            ),
            tries=tuple(_try(orjson.loads(row)) for row in tries),
        )

    async def replay(self, job_id: str, *, tenant: str) -> None:
        """Send a job's last message again, under its own id. JobNotFound, NoWebhook, LedgerUnavailable."""
        with translated():
            answer = await self._scripts.call("outbox_replay", job_id, tenant)
        if answer == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        if answer == "none":
            raise NoWebhook(f"job {job_id!r} has no message: it hasn't ended, or was submitted without a webhook_url")


def _message(row: dict[str, str], url: str, now_ms: int, tenant: str) -> Message:
    return Message(
        id=row["id"],
        job_id=row["job"],
        url=url,
        tenant=tenant,
        status=row["status"],
        error=row["error"] or None,
        warnings=warnings(row.get("warnings")),
        at=int(row["at"]) / 1000,
        attempt=int(row["attempts"]),
        tries=int(row["tries"]),
        enqueued_at=int(row["since"]) / 1000,
        now=now_ms / 1000,
    )


def _pending_delivery(row: dict[str, str], due: str) -> PendingDelivery:
    return PendingDelivery(
        id=row["id"],
        status=row["status"],
        at=int(row["at"]) / 1000,
        state=row["state"],
        attempts=int(row["attempts"]),
        next_try_at=float(due) / 1000 if due else None,
    )


def _try(row: dict[str, Any]) -> Try:
    took = row.get("took_ms")
    return Try(
        message=row["id"],
        at=row["at"] / 1000,
        outcome=Verdict(row["outcome"]),
        attempt=row.get("attempt"),
        status=row.get("status"),
        error=row.get("error"),
        took_s=None if took is None else took / 1000,
    )
