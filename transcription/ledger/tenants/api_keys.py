"""
API keys in the ledger: only a hash of each is stored.

A secret is 256 random bits, so one SHA-256 is as good as a slow hash: there is no dictionary to try. It is found by its
hash, so no comparison takes longer for a better guess.

    keys       hash    id of a key -> hash of its secret
    key:HASH   hash    id, name, tenant, scopes, tier, created; networks; expires, where it does
    keyused    hash    id of a key -> when it was used last
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis import Redis

from transcription.access import ApiKey, Scope
from transcription.errors import LedgerUnavailable
from transcription.ledger.audit_heads import note
from transcription.ledger.connections.batches import Batches
from transcription.ledger.connections.errors import translated
from transcription.ledger.connections.fail_fast import FailFastRedis
from transcription.ledger.scripts import PREFIX

START = "mur_"
_ID_BYTES = 6
_SECRET_BYTES = 32
_MOST = 128
_USED_EVERY_S = 60.0
_REMEMBERED = 10_000


class RedisKeys:
    """A KeyRing on Redis: what the API asks."""

    def __init__(self, client: FailFastRedis) -> None:
        self._client = client
        self._noted: dict[str, float] = {}
        self._records: Batches[str, dict[str, str]] = Batches(self._read)

    async def find(self, secret: str) -> ApiKey | None:
        """The key of *secret*, None for one that was never given out, is revoked or has expired. LedgerUnavailable."""
        if not secret.startswith(START) or len(secret) > _MOST:
            return None
        found = await self._records.get(_digest(secret))
        key = _key(found) if found else None
        return None if key is None or key.expired(time.time()) else key

    async def _read(self, digests: Sequence[str]) -> list[dict[str, str]]:
        """The records of all keys that come just now: every request looks, so that a revoked one is refused at once."""
        with translated():
            async with self._client.bounded(), self._client.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hgetall(f"{PREFIX}key:{digest}")
                found: list[dict[str, str]] = await pipe.execute()
                return found

    async def used(self, key: ApiKey) -> None:
        """Note that *key* was used now, once a minute; a ledger that is away misses it."""
        now = time.time()
        if now - self._noted.get(key.id, 0.0) < _USED_EVERY_S:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[key.id] = now
        with suppress(LedgerUnavailable), translated():
            # Not in the key's own hash: a key that is revoked meanwhile must not come back.
            await self._client.hset(f"{PREFIX}keyused", key.id, str(round(now, 3)))


class ApiKeyStore:
    """
    Where an operator makes, lists, exchanges and revokes keys. Every call may raise LedgerUnavailable.

    Each change stands in the ledger's audit stream; with *by*, whoever makes it by hand, also in an API's audit log.
    """

    def __init__(self, client: Redis, *, by: str = "", audit_length: int = 100_000) -> None:
        self._client = client
        self._by = by
        self._audit_length = audit_length

    def create(
        self,
        *,
        name: str,
        tenant: str,
        scopes: frozenset[Scope],
        tier: str,
        expires_at: float | None = None,
        networks: str = "",
    ) -> tuple[ApiKey, str]:
        """Make a key. Returns it and its secret, which is nowhere else from now on."""
        key = ApiKey(
            id=secrets.token_hex(_ID_BYTES),
            name=name,
            tenant=tenant,
            scopes=scopes,
            tier=tier,
            created_at=round(time.time(), 3),
            expires_at=expires_at,
            networks=networks,
        )
        with translated(), self._client.pipeline(transaction=True) as pipe:
            secret = self._add(pipe, key)
            self._note(pipe, "key created", key)
            pipe.execute()
        return key, secret

    def rotate(self, key_id: str, *, overlap_s: float, expires_at: float | None) -> tuple[ApiKey, str] | None:
        """
        Make a key that may do what another may, which is good for *overlap_s* more.

        Returns:
            The new key and its secret; None when there is no key *key_id* that is still good.
        """
        until = round(time.time() + overlap_s, 3)
        pipe: Any
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.watch(f"{PREFIX}keys")
            name: Any = pipe.hget(f"{PREFIX}keys", key_id)
            pipe.watch(f"{PREFIX}key:{name}")
            fields: Any = pipe.hgetall(f"{PREFIX}key:{name}")
            if not fields or (old := _key(fields)).expired(time.time()):
                return None
            key = replace(
                old,
                id=secrets.token_hex(_ID_BYTES),
                created_at=round(time.time(), 3),
                expires_at=expires_at,
                used_at=None,
            )
            pipe.multi()
            secret = self._add(pipe, key)
            pipe.hset(f"{PREFIX}key:{name}", "expires", str(min(until, old.expires_at or until)))
            self._note(pipe, "key rotated", key, before=key_id)
            pipe.execute()
        return key, secret

    def list(self) -> tuple[ApiKey, ...]:
        """Every key, the oldest first; also those that have expired."""
        with translated():
            hashes: Any = self._client.hgetall(f"{PREFIX}keys")
            found: list[Any] = [self._client.hgetall(f"{PREFIX}key:{name}") for name in hashes.values()]
            used: Any = self._client.hgetall(f"{PREFIX}keyused")
        keys = (_key(fields, used.get(fields["id"])) for fields in found if fields)
        return tuple(sorted(keys, key=lambda key: (key.created_at, key.id)))

    def revoke(self, key_id: str) -> bool:
        """Make a key invalid from now on; False when there is none of that id."""
        with translated():
            name: Any = self._client.hget(f"{PREFIX}keys", key_id)
            fields: Any = self._client.hgetall(f"{PREFIX}key:{name}") if name else {}
            if name is None:
                return False
            with self._client.pipeline(transaction=True) as pipe:
                pipe.delete(f"{PREFIX}key:{name}")
                pipe.hdel(f"{PREFIX}keys", key_id)
                pipe.hdel(f"{PREFIX}keyused", key_id)
                if fields:
                    self._note(pipe, "key revoked", _key(fields))
                pipe.execute()
        return True

    def _add(self, pipe: Any, key: ApiKey) -> str:
        """Have *pipe* store a new key; its secret."""
        secret = START + secrets.token_urlsafe(_SECRET_BYTES)
        fields = {"id": key.id, "name": key.name, "tenant": key.tenant, "tier": key.tier, "created": key.created_at}
        fields |= {"scopes": " ".join(sorted(key.scopes)), "networks": key.networks}
        if key.expires_at is not None:
            fields["expires"] = key.expires_at
        pipe.hset(f"{PREFIX}key:{_digest(secret)}", mapping=fields)
        pipe.hset(f"{PREFIX}keys", key.id, _digest(secret))
        return secret

    def _note(self, pipe: Any, what: str, key: ApiKey, **more: str) -> None:
        facts = {"tenant": key.tenant, "key": key.id, "scopes": " ".join(sorted(key.scopes)), "by": self._by, **more}
        note(pipe, what, facts, stream_length=self._audit_length)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(fields: dict[str, str], used: str | None = None) -> ApiKey:
    return ApiKey(
        id=fields["id"],
        name=fields["name"],
        tenant=fields["tenant"],
        scopes=frozenset(Scope(scope) for scope in fields["scopes"].split()),
        tier=fields["tier"],
        created_at=float(fields["created"]),
        expires_at=float(fields["expires"]) if fields.get("expires") else None,
        networks=fields.get("networks", ""),
        used_at=float(used) if used else None,
    )
