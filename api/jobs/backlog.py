"""What waits and what runs, as every part of one API process sees it: asked for at most once a second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from transcription.errors import LedgerUnavailable
from transcription.ledger.connections.fail_fast import waiting
from transcription.ports import Backlog, JobStore, WorkerInfo

MAX_AGE_S = 1.0


class BacklogView:
    """
    The ledger's figures, cached briefly; concurrent requests share one read. Stale figures are never given.

    A failure is remembered as long as figures are: a crowd hears of it together, not one after the other.
    """

    def __init__(self, jobs: JobStore, *, max_age_s: float = MAX_AGE_S) -> None:
        self._jobs = jobs
        self._max_age_s = max_age_s
        self._lock = asyncio.Lock()
        self._known: Backlog | LedgerUnavailable | None = None
        self._known_at = float("-inf")
        self._last_workers: tuple[WorkerInfo, ...] = ()

    async def now(self) -> Backlog:
        """The figures, at most a second old. LedgerUnavailable."""
        async with self._turn():
            if self._known is None or time.monotonic() - self._known_at > self._max_age_s:
                self._known = await self._read()
                self._known_at = time.monotonic()
        if isinstance(self._known, LedgerUnavailable):
            raise self._known.with_traceback(None)
        return self._known

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with waiting():
            await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    async def _read(self) -> Backlog | LedgerUnavailable:
        try:
            found = await self._jobs.backlog()
        except LedgerUnavailable as error:
            return error
        self._last_workers = found.workers or self._last_workers
        return found

    @property
    def last_workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that lived when last any did; empty before the first read."""
        return self._last_workers
