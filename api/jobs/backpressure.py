"""Saying no before the body is read: queue, memory, disk."""

import math
import shutil
import time
from pathlib import Path

import psutil

from api.jobs.backlog import BacklogView
from transcription.errors import DiskFull, MemoryPressure, QueueFull
from transcription.ports import Backlog
from transcription.settings import Limits

_CACHE_S = 0.5
_MEMORY_RETRY_S = 30
_DISK_RETRY_S = 60
_QUEUE_RETRY_S = (5, 60, 3600)


class Backpressure:
    """The platform's limits, looked at before every upload. Looks at the machine are cached for half a second."""

    def __init__(self, limits: Limits, *, backlog: BacklogView, blob_dir: Path) -> None:
        self._limits = limits
        self._backlog = backlog
        self._blob_dir = blob_dir
        self._measured_at = float("-inf")
        self._memory_percent = 0.0
        self._free_bytes = 0
        self._disk_bytes = 0

    async def check(self, *, coming_bytes: int) -> None:
        """
        Return when an upload of *coming_bytes* can be taken; 0 where its length isn't known.

        Raises:
            MemoryPressure, DiskFull, QueueFull: with the time after which it is worth another try.
            LedgerUnavailable: an upload couldn't be recorded.
        """
        self._measure()
        if self._memory_percent > self._limits.max_memory_percent:
            raise MemoryPressure(
                f"{self._memory_percent:.0f} % of memory is in use; the limit is {self._limits.max_memory_percent:g} % "
                "(MURMUR_LIMITS__MAX_MEMORY_PERCENT)",
                retry_after_s=_MEMORY_RETRY_S,
            )
        if self._free_bytes - coming_bytes < self._limits.min_free_disk_bytes:
            raise DiskFull(
                f"{self._free_bytes >> 20} MiB of disk are free, {coming_bytes >> 20} MiB are to come, and "
                f"{self._limits.min_free_disk_bytes >> 20} MiB must stay free (MURMUR_LIMITS__MIN_FREE_DISK_BYTES)",
                retry_after_s=_DISK_RETRY_S,
            )
        backlog = await self._backlog.now()
        if backlog.pending_audio_s > self._limits.max_queue_audio_s:
            raise QueueFull(
                f"{backlog.pending_audio_s / 3600:.1f} hours of audio are waiting; the limit is "
                f"{self._limits.max_queue_audio_s / 3600:.1f} (MURMUR_LIMITS__MAX_QUEUE_AUDIO_S)",
                retry_after_s=drained_in_s(backlog, self._limits.max_queue_audio_s),
            )

    @property
    def memory_percent(self) -> float:
        """Memory in use on this machine, in percent."""
        self._measure()
        return self._memory_percent

    @property
    def disk_bytes(self) -> tuple[int, int]:
        """Bytes free on the disk that takes uploads, and its size."""
        self._measure()
        return self._free_bytes, self._disk_bytes

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured_at < _CACHE_S:
            return
        self._memory_percent = psutil.virtual_memory().percent
        disk = shutil.disk_usage(_existing(self._blob_dir))
        self._free_bytes, self._disk_bytes = disk.free, disk.total
        self._measured_at = now


def drained_in_s(backlog: Backlog, limit_s: float) -> int:
    """When the queue will be below *limit_s* audio-seconds at the workers' measured speed; a minute if unknown."""
    least, unknown, most = _QUEUE_RETRY_S
    rate = sum(worker.rate or 0.0 for worker in backlog.workers)
    if rate <= 0:
        return unknown
    return max(least, min(most, math.ceil((backlog.pending_audio_s - limit_s) / rate)))


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
