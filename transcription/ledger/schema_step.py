"""
Which version the ledger's layout has, and when a release that changes it may do so.

The first script of such a release changes the layout, and the release before then refuses the ledger. While that one
still serves clients, the step is held back:

    schema_held   string   the API is being replaced; the step may be done when this is gone; ends by itself
"""

import re
from functools import cache
from importlib.resources import files

from redis import Redis

from transcription.ledger.connections.errors import translated
from transcription.ledger.scripts import PREFIX, Scripts

LONGEST_HOLD_S = 600
_GONE_MS = 60_000
_SCHEMA, _HELD = f"{PREFIX}schema", f"{PREFIX}schema_held"


@cache
def ours() -> int:
    """The version that this release writes."""
    source = (files("transcription.ledger") / "lua" / "schema.lua").read_text("utf-8")
    (found,) = re.findall(r"^local VERSION = (\d+)$", source, re.MULTILINE)
    return int(found)


def theirs(client: Redis) -> int | None:
    """The version that the ledger has; None when nothing was written yet. LedgerUnavailable."""
    with translated():
        found = client.get(_SCHEMA)
    return int(str(found)) if found is not None else None


def hold(client: Redis) -> None:
    """Have processes of a newer release wait, for `LONGEST_HOLD_S` at most. LedgerUnavailable."""
    with translated():
        client.set(_HELD, "1", ex=LONGEST_HOLD_S)


def release(client: Redis, *, audit_length: int) -> None:
    """Do this release's step, then let the processes begin that wait: no request pays for it. LedgerUnavailable."""
    with translated():
        try:
            # Any script does it first.
            Scripts(client, audit_length=audit_length).call("backlog", _GONE_MS)
        finally:
            client.delete(_HELD)


def cancel(client: Redis) -> None:
    """Hold nothing back any more, and do nothing: the release before goes on. LedgerUnavailable."""
    with translated():
        client.delete(_HELD)


def must_wait(client: Redis) -> bool:
    """Whether this release has a step to do that is held back. LedgerUnavailable."""
    with translated():
        found, held = client.mget([_SCHEMA, _HELD])
    return held is not None and found is not None and int(found) < ours()
