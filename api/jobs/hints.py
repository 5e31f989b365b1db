"""Hints to the workers, off the request's way: an accepted job doesn't wait for the broker."""

import asyncio
from collections import Counter
from contextlib import suppress

from transcription.ports import JobQueue

_CLOSE_TIMEOUT_S = 2.0


class Hints:
    """
    Sends hints one call at a time, in a thread; those that come meanwhile go out together with the next call.

    So a broker that hangs holds one thread, never a request, and not the threads that write uploads.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._unsent: Counter[str] = Counter()
        self._sending: asyncio.Task[None] | None = None

    def send(self, lane: str) -> None:
        """Send one more hint to workers that suit a lane, soon."""
        self._unsent[lane] += 1
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Wait briefly for unsent hints; a lost one is sent again by a worker."""
        if self._sending is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._sending), _CLOSE_TIMEOUT_S)

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, Counter()
                for lane, count in unsent.items():
                    await asyncio.to_thread(self._queue.hint, lane, count)
        finally:
            self._sending = None
