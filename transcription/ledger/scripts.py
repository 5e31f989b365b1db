"""The ledger's Lua scripts, ready to be called from either colour of client."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from inspect import isawaitable
from typing import Any

from redis.exceptions import ResponseError

PREFIX = "murmur:"
CHANGED = PREFIX + "changed"
BOUNDS_S = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 14_400)
"""Upper bounds of the latency histograms, in seconds."""

_SHARED = (
    "keys",
    "events",
    "jobs",
    "queues",
    "runs",
    "webhooks",
    "retention",
    "computations",
    "completeness",
    "losses",
)
"""The parts of ``lua/shared`` in the order in which each knows those before it."""

_ANSWER_WITH_JOBS = ("submit", "read", "cancel", "rename")


DEAD_LETTER_TTL_S = 30 * 86_400


_WHILE_FULL = frozenset(
    (
        "append",
        "archived",
        "beats",
        "cancel",
        "claim",
        "dead",
        "depart",
        "fail",
        "finish",
        "forget",
        "hung",
        "lock",
        "outbox_claim",
        "outbox_replay",
        "outbox_settle",
        "prepared",
        "reap",
        "register",
        "release",
        "renew",
        "restore",
        "sweep",
        "uncache",
        "unneeded",
        "unserved",
        "whole",
        "withdraw",
    )
)
"""Scripts that free memory, or bring accepted jobs to their end: they run though the server's memory is used up."""

_WRITE_FIRST = "redis.call('DEL', k('nothing'))"
"""
Out of memory, a server refuses a script's *first* write only, and a deletion never. (The flag `allow-oom` does the
same, but no server before Redis 7 knows it.)
"""


@cache
def source(name: str, audit_length: int, dead_letter_ttl_s: int = DEAD_LETTER_TTL_S, keep_audio: bool = False) -> str:
    """The text of script *name* with what all scripts share in front of it."""
    folder = files("transcription.ledger") / "lua"
    shared = (*(f"shared/{part}" for part in _SHARED), "schema")
    names = (*shared, *(("job_row",) if name in _ANSWER_WITH_JOBS else ()), name)
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in names]
    constants = {
        "AUDIT": int(audit_length),
        "BOUNDS_S": f"{{ {', '.join(map(str, BOUNDS_S))} }}",
        "DEAD_MS": int(dead_letter_ttl_s) * 1000,
        "KEEP_AUDIO": int(keep_audio),
    }
    if name in _WHILE_FULL:
        parts.insert(len(shared), _WRITE_FIRST)
    return "\n".join([*(f"local {name} = {value}" for name, value in constants.items()), *parts])


class Scripts:
    """
    Scripts of one client, registered on first use.

    Args:
        client: A redis client, sync or async; calls then return values or awaitables.
        audit_length: Entries that the audit stream keeps.
        dead_letter_ttl_s: How long dead letters are kept.
        keep_audio: Whether audio is needed for as long as its result is kept.
    """

    def __init__(
        self,
        client: Any,
        *,
        audit_length: int,
        dead_letter_ttl_s: int = DEAD_LETTER_TTL_S,
        keep_audio: bool = False,
    ) -> None:
        self.client = client
        self._constants = (audit_length, dead_letter_ttl_s, keep_audio)
        self._ready: dict[str, Any] = {}

    def call(self, name: str, *args: str | int | float, client: Any = None) -> Any:
        """Run script *name*; *client* may be a pipeline."""
        if name not in self._ready:
            self._ready[name] = self.client.register_script(source(name, *self._constants))
        with noting(name):
            answer = self._ready[name](keys=[PREFIX], args=args, client=client)
        return _noted(answer, name) if isawaitable(answer) else answer


@contextmanager
def noting(name: str) -> Iterator[None]:
    """Note on the server's errors inside the block that they are script *name*'s: they don't say so themselves."""
    try:
        yield
    except ResponseError as error:
        error.add_note(name)
        raise


async def _noted(answer: Awaitable[Any], name: str) -> Any:
    with noting(name):
        return await answer


def pairs(flat: Sequence[Any]) -> dict[str, Any]:
    """A hash as Lua returns it: keys and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
