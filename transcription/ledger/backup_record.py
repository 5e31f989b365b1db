"""
When the last good backup was taken, so that an alert can say that it is old.

    backup   hash   last_at: when the last verified backup was taken, Unix seconds; every_s: how often one is scheduled
"""

from collections.abc import Mapping
from typing import Any

from redis import Redis

from transcription.ledger.connections.errors import translated
from transcription.ledger.scripts import PREFIX

KEY = f"{PREFIX}backup"


def taken(client: Redis, at: float) -> None:
    """Write down that a backup taken at *at* (Unix seconds) was verified. LedgerUnavailable."""
    with translated():
        last = client.hget(KEY, "last_at")
        if last is None or float(str(last)) < at:
            client.hset(KEY, "last_at", str(at))


def scheduled(client: Redis, every_s: float | None) -> None:
    """Write down how often a backup is due; None: not any more. LedgerUnavailable."""
    with translated():
        if every_s is None:
            client.hdel(KEY, "every_s")
        else:
            client.hset(KEY, "every_s", str(every_s))


def read(fields: Mapping[Any, Any]) -> tuple[float, float]:
    """When the last good backup was taken (0: never), and how often one is due in seconds (0: no schedule)."""
    return float(fields.get("last_at", 0)), float(fields.get("every_s", 0))
