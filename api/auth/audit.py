"""The audit log: who did and read what, one JSON object a line, apart from other logs; lines form chains."""

import asyncio
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, NoReturn, Protocol

import structlog
from prometheus_client import Counter

from transcription.access import Principal
from transcription.errors import LedgerUnavailable
from transcription.observability.audit_chain import Chain

asking: ContextVar[tuple[Principal, str]] = ContextVar("asking")
"""Who asks, and the request's id; the API sets it for every request."""

reads: ContextVar[dict[str, str] | None] = ContextVar("reads", default=None)
"""Jobs that this request has looked up, and how that went; what it does with one stands for the look at it."""

_log = structlog.get_logger("api.audit")
_MODE = 0o640
_PATIENCE_S = 0.5
_MOST_WAITING = 10_000
_ANCHOR_S = 1.0
_CLOSING_S = 5.0


class Heads(Protocol):
    """Where it is kept how far a chain has got, apart from the log."""

    async def anchor(self, chain: str, number: int, digest: str, at: float) -> None:
        """Keep the last line's number, hash and time. LedgerUnavailable."""

    async def events(self) -> list[dict[str, Any]]:
        """What was done by the command line, each once. LedgerUnavailable."""


class AuditLog:
    """
    Appends to one file, a line at a time; processes may share it, and it may be moved away (logrotate).

    Lines are written by a thread: a disk that hangs stops nobody. A line that can't be written, as on a full disk, is
    counted and stands in the other log; what it tells of has happened and isn't undone. Every line is part of this
    process's chain, see `transcription.observability.audit_chain`; once a second the ledger is told how far it has got.

    Args:
        target: A file's path, `-` for standard error, or nothing for no log at all.
        lost: Counts the lines that were lost.
        heads: Where the chain's end is kept.
    """

    def __init__(self, target: str, lost: Counter, heads: Heads | None = None) -> None:
        self._handler = _handler(target)
        self._thread = ThreadPoolExecutor(1, "audit")
        self._chain = Chain()
        self._anchored = 0
        self._heads = heads
        self._closing = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._waiting = 0
        self._written_at = 0.0
        self._lost = lost

    async def write(self, action: str, *, job: str | None = None, outcome: str = "ok", **more: Any) -> None:
        """Say that the client who asks has done *action*; never raises, and waits half a second at most."""
        client, request_id = asking.get((Principal(), ""))
        pending = reads.get()
        if pending and job:
            pending.pop(job, None)
        await self._entry(
            {
                "at": _now(),
                "action": action,
                "outcome": outcome,
                "tenant": client.tenant,
                "key": client.key_id or None,
                "address": client.address or None,
                "request_id": request_id or None,
                "job": job,
                **more,
            }
        )

    async def read(self, job: str, outcome: str = "ok") -> None:
        """Say that the client has looked up a job: at the request's end, if it does nothing else with it."""
        pending = reads.get()
        if pending is None:
            await self.write("look", job=job, outcome=outcome)
        else:
            pending[job] = outcome

    async def end_request(self) -> None:
        """Write down what the request has only looked at."""
        for job, outcome in list((reads.get() or {}).items()):
            await self.write("look", job=job, outcome=outcome)

    async def _entry(self, entry: dict[str, Any]) -> None:
        if self._handler is None:
            return
        if self._waiting >= _MOST_WAITING:
            self._lost.inc()
            return
        hangs = self._waiting and time.monotonic() - self._written_at > _PATIENCE_S
        self._waiting += 1
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._append, entry)
        writing.add_done_callback(self._written)
        if not hangs:
            await asyncio.wait([writing], timeout=_PATIENCE_S)

    def _append(self, entry: dict[str, Any]) -> None:
        if self._handler is not None:
            line = self._chain.line(entry)
            self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._waiting -= 1
        self._written_at = time.monotonic()
        if not writing.cancelled() and (error := writing.exception()):
            self._lost.inc()
            _log.error("a line of the audit log is lost", error=str(error))

    def follow(self) -> None:
        """Begin to keep the chain's end in the ledger, and to write down what the command line does."""
        if self._heads is not None and self._handler is not None:
            self._following = asyncio.create_task(self._follow(self._heads))

    async def _follow(self, heads: Heads) -> None:
        while not self._closing.is_set():
            with suppress(LedgerUnavailable):
                for event in await heads.events():
                    await self._entry({"at": event.pop("at", _now()), **event})
                await self._anchor(heads)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _ANCHOR_S)

    async def _anchor(self, heads: Heads) -> None:
        # In the log's thread, between two lines.
        seen = await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: (self._chain.number, self._chain.hash)
        )
        if seen[0] > self._anchored:
            await heads.anchor(self._chain.name, *seen, time.time())
            self._anchored = seen[0]

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._handler is not None

    async def close(self) -> None:
        """Let the file go, once what waits is written."""
        if self._following is not None:
            # Not canceled: what it has taken out of the ledger must get into the log.
            self._closing.set()
            await asyncio.wait([self._following], timeout=_CLOSING_S)
            self._following.cancel()
        idle = self._waiting == 0 or time.monotonic() - self._written_at < _PATIENCE_S
        if self._heads is not None and self._handler is not None and idle:
            with suppress(LedgerUnavailable):
                await self._anchor(self._heads)
        self._thread.shutdown(wait=idle)
        if self._handler is not None:
            self._handler.close()
        self._handler = None


def _now() -> str:
    return datetime.fromtimestamp(round(time.time(), 3), UTC).isoformat()


class _File(WatchedFileHandler):
    """A file that its group may read; opened anew when something else stands in its place."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: ARG002, N802
        """Raise what went wrong; the standard library would print it."""
        raise  # noqa: PLE0704


def _handler(target: str) -> logging.Handler | None:
    if target == "-":
        return logging.StreamHandler(sys.stderr)
    if not target:
        return None
    path = Path(target).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return _File(path)
