"""What waits and what runs, as every part of one API process sees it: asked for at most once a second."""

import asyncio
import time
from contextvars import Context

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
        self._reading: asyncio.Task[Backlog | LedgerUnavailable] | None = None
        self._known: Backlog | LedgerUnavailable | None = None
        self._known_at = float("-inf")
        self._last_workers: tuple[WorkerInfo, ...] = ()

    async def now(self) -> Backlog:
        """The figures, at most a second old. LedgerUnavailable."""
        known = self._known
        if known is None or time.monotonic() - self._known_at > self._max_age_s:
            if self._reading is None or self._reading.done():
                # For many, so nothing of this request sticks to it, least of all how long it has waited already.
                self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())
            with waiting():
                known = await asyncio.shield(self._reading)
        if isinstance(known, LedgerUnavailable):
            raise known.with_traceback(None)
        return known

    async def _read(self) -> Backlog | LedgerUnavailable:
        found: Backlog | LedgerUnavailable
        try:
            found = await self._jobs.backlog()
            self._last_workers = found.workers or self._last_workers
        except LedgerUnavailable as error:
            found = error
        self._known, self._known_at = found, time.monotonic()
        return found

    @property
    def last_workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that lived when last any did; empty before the first read."""
        return self._last_workers
