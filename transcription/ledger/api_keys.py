"""
API keys in the ledger: only a hash of each is stored.

A secret is 256 random bits, so one SHA-256 is as good as a slow hash: there is no dictionary to try. It is found by its
hash, so no comparison takes longer for a better guess.

    keys       hash    id of a key -> hash of its secret
    key:HASH   hash    id, name, tenant, scopes, tier, created
"""

import hashlib
import secrets
import time
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from transcription.access import ApiKey, Scope
from transcription.ledger.connections import translated
from transcription.ledger.scripts import PREFIX

START = "mur_"
_ID_BYTES = 6
_SECRET_BYTES = 32
_MOST = 128


class RedisKeys:
    """A KeyRing on Redis: what the API asks."""

    def __init__(self, client: AsyncRedis) -> None:
        self._client = client

    async def find(self, secret: str) -> ApiKey | None:
        """The key of *secret*, None for one that was never given out or is revoked. LedgerUnavailable."""
        if not secret.startswith(START) or len(secret) > _MOST:
            return None
        with translated():
            found: Any = await self._client.hgetall(f"{PREFIX}key:{_digest(secret)}")
        return _key(found) if found else None


class ApiKeyStore:
    """Where an operator makes, lists and revokes keys. Every call may raise LedgerUnavailable."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def create(self, *, name: str, tenant: str, scopes: frozenset[Scope], tier: str) -> tuple[ApiKey, str]:
        """Make a key. Returns it and its secret, which is nowhere else from now on."""
        secret = START + secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(
            id=secrets.token_hex(_ID_BYTES),
            name=name,
            tenant=tenant,
            scopes=scopes,
            tier=tier,
            created_at=round(time.time(), 3),
        )
        fields: dict[Any, Any] = {"id": key.id, "name": name, "tenant": tenant, "tier": tier, "created": key.created_at}
        fields["scopes"] = " ".join(sorted(scopes))
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.hset(f"{PREFIX}key:{_digest(secret)}", mapping=fields)
            pipe.hset(f"{PREFIX}keys", key.id, _digest(secret))
            pipe.execute()
        return key, secret

    def list(self) -> tuple[ApiKey, ...]:
        """Every key, the oldest first."""
        with translated():
            hashes: Any = self._client.hgetall(f"{PREFIX}keys")
            found: list[Any] = [self._client.hgetall(f"{PREFIX}key:{name}") for name in hashes.values()]
        return tuple(sorted((_key(fields) for fields in found if fields), key=lambda key: (key.created_at, key.id)))

    def revoke(self, key_id: str) -> bool:
        """Make a key invalid from now on; False when there is none of that id."""
        with translated():
            name: Any = self._client.hget(f"{PREFIX}keys", key_id)
            if name is None:
                return False
            with self._client.pipeline(transaction=True) as pipe:
                pipe.delete(f"{PREFIX}key:{name}")
                pipe.hdel(f"{PREFIX}keys", key_id)
                pipe.execute()
        return True


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(fields: dict[str, str]) -> ApiKey:
    return ApiKey(
        id=fields["id"],
        name=fields["name"],
        tenant=fields["tenant"],
        scopes=frozenset(Scope(scope) for scope in fields["scopes"].split()),
        tier=fields["tier"],
        created_at=float(fields["created"]),
    )
