"""How the machine under this process is: memory in use, and room on the disk that takes uploads."""

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from transcription.observability.memory import used_percent

_CACHE_S = 0.5
_PATIENCE_S = 0.5
_FIRST_PATIENCE_S = 3.0
"""Before the first reading there is none to go by, and a machine is busy where an API has just come up."""


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One reading of the machine.

    ``late_s`` is how long the disk has failed to answer, 0 where it does; ``disk_error`` what it answered instead of
    its figures.
    """

    memory_percent: float = 0.0
    free_bytes: int = 0
    disk_bytes: int = 0
    late_s: float = 0.0
    disk_error: str = ""


class Machine:
    """
    Reads in a thread of its own, at most twice a second: a network share that hangs must stop nobody.

    While a reading hangs, everybody gets the last reading and how late the next one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "machine")
        self._reading: asyncio.Future[Reading] | None = None
        self._began_at = self._read_at = float("-inf")
        self._last = Reading()

    async def read(self) -> Reading:
        """The machine as it is now, or as it was half a second ago; the first reading may take its time."""
        if self._reading is None and time.monotonic() - self._read_at < _CACHE_S:
            return self._last
        if self._reading is None:
            self._began_at = time.monotonic()
            self._reading = asyncio.get_running_loop().run_in_executor(self._thread, read, self._directory)
            self._reading.add_done_callback(self._seen)
        waited = time.monotonic() - self._began_at
        patience_s = _PATIENCE_S if self._last.disk_bytes else _FIRST_PATIENCE_S
        done, _ = await asyncio.wait([self._reading], timeout=max(0.0, patience_s - waited))
        if done:
            return done.pop().result()
        last = self._last
        return Reading(last.memory_percent, last.free_bytes, last.disk_bytes, time.monotonic() - self._began_at)

    def close(self) -> None:
        """Wait for nothing: a reading that hangs would never end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _seen(self, reading: "asyncio.Future[Reading]") -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is None:
            self._last, self._read_at = reading.result(), time.monotonic()


def read(directory: Path) -> Reading:
    """Read now, at the first directory above that is there; blocks for as long as the disk does."""
    while True:
        try:
            disk = shutil.disk_usage(directory)
        except FileNotFoundError as error:  # asking first would tell nothing: it may go away in between
            if directory == directory.parent:
                return Reading(used_percent(), disk_error=str(error))
            directory = directory.parent
        except OSError as error:
            return Reading(used_percent(), disk_error=error.strerror or str(error))
        else:
            return Reading(used_percent(), disk.free, disk.total)
