"""
The ledger's side of the audit log: how far its chains have got, and what the command line did that belongs into it.

    audithead:CHAIN   string   number, hash and time of a chain's last line; gone 400 days after it
    auditevents       list     what was done to keys and tenants by `murmur`, JSON, until an API has written it down
"""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from transcription.ledger.connections.errors import translated
from transcription.ledger.scripts import PREFIX

KEPT_S = 400 * 86_400
MOST_EVENTS = 10_000
_AT_ONCE = 100


class AuditHeads:
    """What the API asks. Every call may raise LedgerUnavailable."""

    def __init__(self, client: AsyncRedis) -> None:
        self._client = client

    async def anchor(self, chain: str, number: int, digest: str, at: float) -> None:
        """Keep how far *chain* has got."""
        with translated():
            await self._client.set(f"{PREFIX}audithead:{chain}", f"{number} {digest} {at}", ex=KEPT_S)

    async def events(self) -> list[dict[str, Any]]:
        """Take what was done by the command line since; nobody else gets it."""
        with translated():
            found: Any = await self._client.lpop(f"{PREFIX}auditevents", _AT_ONCE)
        return [orjson.loads(event) for event in found or []]


def note(pipe: Any, what: str, facts: dict[str, str], *, stream_length: int) -> None:
    """Have *pipe* write down *what* was done: in the ledger's audit stream and, with `by`, for an API's audit log."""
    at = datetime.fromtimestamp(round(time.time(), 3), UTC).isoformat()
    if facts.get("by"):
        pipe.rpush(f"{PREFIX}auditevents", orjson.dumps({"at": at, "action": what, "outcome": "ok", **facts}))
        pipe.ltrim(f"{PREFIX}auditevents", -MOST_EVENTS, -1)
    if stream_length:
        pipe.xadd(f"{PREFIX}audit", {"what": what, **facts}, maxlen=stream_length, approximate=True)


def heads(client: Redis) -> dict[str, tuple[int, str, float]]:
    """Number, hash and time of the last line of every chain. LedgerUnavailable."""
    start = f"{PREFIX}audithead:"
    with translated():
        names = [str(name) for name in client.scan_iter(f"{start}*", count=1000)]
        values: Any = client.mget(names) if names else []
    found = {}
    for name, value in zip(names, values, strict=True):
        if value:
            number, digest, at = value.split()
            found[name.removeprefix(start)] = (int(number), digest, float(at))
    return found
