"""
Secrets that sign a tenant's webhooks: made by the ledger's side, shown once, as many as a rotation needs.

They lie in the ledger as they are, because they sign.

    hooksecrets:T   hash   id -> secret, when it was made (JSON)
"""

import base64
import secrets
import time
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from transcription.errors import QuotaExceeded
from transcription.ledger.connections.errors import translated
from transcription.ledger.scripts import PREFIX
from transcription.webhook import PREFIX as START
from transcription.webhook import PRIVATE, new_private_key, public_key

MOST = 5
_SECRET_BYTES = 32
_ID_BYTES = 6
_RETRY_S = 3600


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A secret without itself; ``created_at`` in Unix seconds; ``public_key``, where it is one of a pair of keys."""

    id: str
    created_at: float
    public_key: str | None = None


class RedisWebhookSecrets:
    """The secrets of tenants in the ledger. Every call may raise LedgerUnavailable."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def create(self, tenant: str, *, pair: bool = False) -> tuple[WebhookSecret, str]:
        """
        Make one more secret, or a *pair* of keys; from now on it signs too.

        Returns:
            It, and the secret itself, which isn't shown again; of a pair the private key, which nobody needs to see.

        Raises:
            QuotaExceeded: the tenant has five.
        """
        secret = new_private_key() if pair else START + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        made = WebhookSecret(secrets.token_hex(_ID_BYTES), round(time.time(), 3), public_key(secret) if pair else None)
        with translated():
            if int(await self._client.hlen(_key(tenant))) >= MOST:
                raise QuotaExceeded(f"a tenant has at most {MOST} webhook secrets; delete one", retry_after_s=_RETRY_S)
            row = orjson.dumps({"secret": secret, "created": made.created_at}).decode()
            await self._client.hset(_key(tenant), made.id, row)
        return made, secret

    async def kept(self, tenant: str) -> tuple[WebhookSecret, ...]:
        """The tenant's secrets, the oldest first."""
        rows = (await self._rows(tenant)).items()
        found = [WebhookSecret(name, row["created"], _public(row["secret"])) for name, row in rows]
        return tuple(sorted(found, key=lambda one: (one.created_at, one.id)))

    async def delete(self, tenant: str, secret_id: str) -> bool:
        """Sign with it no more; False when there is none of that id."""
        with translated():
            return bool(await self._client.hdel(_key(tenant), secret_id))

    async def signing(self, tenant: str) -> list[str]:
        """The secrets that sign the tenant's messages; none: it has made none."""
        return [row["secret"] for _, row in sorted((await self._rows(tenant)).items())]

    async def _rows(self, tenant: str) -> dict[str, Any]:
        with translated():
            rows: Any = await self._client.hgetall(_key(tenant))
        return {name: orjson.loads(row) for name, row in rows.items()}


def _public(secret: str) -> str | None:
    return public_key(secret) if secret.startswith(PRIVATE) else None


def _key(tenant: str) -> str:
    return f"{PREFIX}hooksecrets:{tenant}"
