"""Saying no before the body is read: queue, memory, disk."""

import math
from collections.abc import Callable

from api.jobs.backlog import BacklogView
from api.jobs.machine import Machine
from transcription.errors import DiskFull, LedgerFull, LedgerUnavailable, MemoryPressure, QueueFull, StorageUnavailable
from transcription.ports import Backlog
from transcription.settings import Limits

_LATE_S = 5.0
_MEMORY_RETRY_S = 30
_DISK_RETRY_S = 60
_QUEUE_RETRY_S = (5, 60, 3600)


class Backpressure:
    """The platform's limits, looked at before every upload."""

    def __init__(
        self, limits: Limits, *, backlog: BacklogView, machine: Machine, promised_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        self._limits = limits
        self._promised_bytes = promised_bytes
        self._backlog = backlog
        self._machine = machine

    async def check(self, *, coming_bytes: int) -> None:
        """
        Return when an upload of *coming_bytes* can be taken; 0 where its length isn't known.

        Raises:
            MemoryPressure, DiskFull, StorageUnavailable, LedgerFull, QueueFull: with the time after which it is worth
                another try.
            LedgerUnavailable: an upload couldn't be recorded, also because the ledger's disk is full.
        """
        seen = await self._machine.read()
        if seen.disk_error:
            raise StorageUnavailable(
                f"the disk that takes uploads can't be looked at ({seen.disk_error})", retry_after_s=_DISK_RETRY_S
            )
        if seen.late_s > _LATE_S or (seen.late_s and not seen.disk_bytes):
            raise StorageUnavailable(
                f"the disk that takes uploads hasn't answered for {seen.late_s:.1f} s", retry_after_s=_DISK_RETRY_S
            )
        if seen.memory_percent > self._limits.max_memory_percent:
            raise MemoryPressure(
                f"{seen.memory_percent:.0f} % of memory is in use; the limit is {self._limits.max_memory_percent:g} % "
                "(MURMUR_LIMITS__MAX_MEMORY_PERCENT)",
                retry_after_s=_MEMORY_RETRY_S,
            )
        self._check_disk(seen.free_bytes, coming_bytes)
        backlog = await self._backlog.now()
        if not backlog.writable:
            raise LedgerUnavailable(
                "the ledger's server can't write to its disk, and takes no job; nothing was changed",
                retry_after_s=_DISK_RETRY_S,
            )
        if ledger_full(backlog, self._limits):
            raise LedgerFull(
                f"{backlog.ledger_percent:.0f} % of the ledger's memory is in use; new jobs are taken below "
                f"{self._limits.max_ledger_percent:g} % (MURMUR_LIMITS__MAX_LEDGER_PERCENT)",
                retry_after_s=_MEMORY_RETRY_S,
            )
        if backlog.pending_audio_s > self._limits.max_queue_audio_s:
            raise QueueFull(
                f"{backlog.pending_audio_s / 3600:.1f} hours of audio are waiting; the limit is "
                f"{self._limits.max_queue_audio_s / 3600:.1f} (MURMUR_LIMITS__MAX_QUEUE_AUDIO_S)",
                retry_after_s=drained_in_s(backlog, self._limits.max_queue_audio_s),
            )
        # Others may have begun meanwhile. Nobody else can before the caller begins, if it doesn't wait first.
        self._check_disk(seen.free_bytes, coming_bytes)

    def _check_disk(self, free_bytes: int, coming_bytes: int) -> None:
        others = self._promised_bytes()
        if free_bytes - others - coming_bytes < self._limits.min_free_disk_bytes:
            raise DiskFull(
                f"{free_bytes >> 20} MiB of disk are free, {(others + coming_bytes) >> 20} MiB are to come, and "
                f"{self._limits.min_free_disk_bytes >> 20} MiB must stay free (MURMUR_LIMITS__MIN_FREE_DISK_BYTES)",
                retry_after_s=_DISK_RETRY_S,
            )


def ledger_full(backlog: Backlog, limits: Limits) -> bool:
    """Whether what is left of the ledger's memory is kept for the jobs that were accepted."""
    return backlog.ledger_percent >= limits.max_ledger_percent


def drained_in_s(backlog: Backlog, limit_s: float) -> int:
    """When the queue will be below *limit_s* audio-seconds at the workers' measured speed; a minute if unknown."""
    least, unknown, most = _QUEUE_RETRY_S
    rate = sum(worker.rate or 0.0 for worker in backlog.workers)
    if rate <= 0:
        return unknown
    return max(least, min(most, math.ceil((backlog.pending_audio_s - limit_s) / rate)))
