"""Periodic maintenance, which any one process of the platform does for all."""

import threading
import time
from collections.abc import Callable

import structlog

from transcription.errors import LedgerUnavailable, StorageUnavailable
from transcription.ports import BlobStore, JobQueue, ResultStore, SpanStore
from transcription.settings import Settings
from transcription.storage.disk import DiskBlobs, clock, modified
from transcription.storage.pages import pages

log = structlog.get_logger()

SETTLED_S = 60.0
REPAIR_INTERVAL_S = 86_400.0
MOST_HINTS = 500
"""For one lane in one round: no worker gets through more before the next."""

ARCHIVE_INTERVAL_S = 20.0
ARCHIVED_AT_ONCE = 100

SWEEP_INTERVAL_S = 60.0
SWEEP_CHECKS = 6
"""How often in that time each process asks whether it is its turn."""


class Maintenance(threading.Thread):
    """
    Returns spans of lost workers, tops up hints, lets old jobs expire and sweeps bytes that nobody holds.

    Every worker and every API process has one; a lock in the ledger lets one at a time work. There is no process for it
    that could die. *webhooks* is called when there are messages that nobody has taken. Finished results go to
    *results*; whoever has none leaves that to others.
    """

    def __init__(
        self,
        spans: SpanStore,
        queue: JobQueue,
        blobs: BlobStore,
        settings: Settings,
        *,
        results: ResultStore | None = None,
        webhooks: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="maintenance", daemon=True)
        self._webhooks = webhooks
        self._results = results
        self._spans = spans
        self._queue = queue
        self._blobs = blobs
        self._settings = settings
        self._stopping = threading.Event()
        self._cleaned_at = self._sweep_at = self._archive_at = float("-inf")

    def stop(self) -> None:
        """Take no further round."""
        self._stopping.set()

    def run(self) -> None:
        """Go round until told to stop."""
        reap_s = self._settings.lease.reap_s
        while not self._stopping.wait(reap_s):
            try:
                if self._spans.lock("reap", seconds=reap_s * 0.9):
                    self.reap()
                self.clean_host()
                if self._is_due() and self._spans.lock("sweep", seconds=SWEEP_INTERVAL_S * 0.95):
                    self.sweep()
                if self._results is not None and self._is_due_to_archive():
                    self.archive(self._results)
            except LedgerUnavailable as error:
                log.warning("ledger unavailable", error=error.message)
            except StorageUnavailable as error:
                log.warning("store unavailable", error=error.message)
            except OSError as error:  # a share that is away, a disk that is full
                log.warning("a disk can't be used", error=str(error))
            except Exception:
                log.exception("maintenance failed")

    def _is_due(self) -> bool:
        """Whether to ask for the sweep's lock: a thousand processes that ask every two seconds would be a load."""
        if time.monotonic() < self._sweep_at:
            return False
        self._sweep_at = time.monotonic() + SWEEP_INTERVAL_S / SWEEP_CHECKS
        return True

    def _is_due_to_archive(self) -> bool:
        """Whether to move results: one process at a time that has a store for them, a few times a minute."""
        if time.monotonic() < self._archive_at:
            return False
        self._archive_at = time.monotonic() + ARCHIVE_INTERVAL_S
        return self._spans.lock("archive", seconds=ARCHIVE_INTERVAL_S * 0.95)

    def archive(self, results: ResultStore) -> None:
        """
        Move finished results out of the ledger, and delete those that nobody needs; a part of what is due.

        A result is in the store before its text leaves the ledger: a crash in between leaves it in both.
        """
        ends, moved = time.monotonic() + ARCHIVE_INTERVAL_S, 0
        after_s = self._settings.retention.results_in_ledger_s
        while names := self._spans.finished(after_s=after_s, most=ARCHIVED_AT_ONCE):
            moved += sum(self._archived(results, name) for name in names)
            if time.monotonic() > ends or self._stopping.is_set():
                break
        if moved:
            log.info("results left the ledger", count=moved)
        while (names := self._spans.dropped(ARCHIVED_AT_ONCE)) and not self._stopping.is_set():
            for name in names:
                results.delete(name)
            self._spans.deleted_results(names)
        if self._spans.lock("repair results", seconds=REPAIR_INTERVAL_S):
            for page in pages(results.old(older_than_s=self._settings.retention.orphan_s)):
                for name in set(page) - self._spans.known_results(page):
                    results.delete(name)

    def _archived(self, results: ResultStore, name: str) -> bool:
        """Move one result; False: there is none to move."""
        whole = self._spans.whole(name)
        if whole is None:
            return False
        results.write(name, whole)
        if not self._spans.archived(name):
            results.delete(name)
        return True

    def reap(self) -> None:
        """Return spans whose lease is over, and see that there are hints for all that waits, and webhooks are sent."""
        returned = self._spans.reap()
        if returned:
            log.info("spans returned", count=returned)
        if self._spans.webhooks_wait():
            self._webhooks()
        self.top_up()

    def top_up(self) -> None:
        """Send hints until each lane has as many as spans that wait in it; none where no worker could claim them."""
        if not self._spans.pending():
            return
        for lane, waits in self._spans.lanes().items():
            missing = waits.pending - self._queue.waiting(lane) if waits.workers else 0
            if missing > 0:
                self._queue.hint(lane, min(missing, MOST_HINTS))

    def sweep(self) -> None:
        """
        Expire jobs, fail those of withdrawn models, and delete audio that nobody needs: what the ledger names, and once
        a day what it lost.
        """
        expired, files = self._expire(), 0
        if unserved := self._spans.fail_unserved():
            log.error("jobs of models that nobody serves have failed", count=unserved)
        if rewrite_s := self._settings.retention.rewrite_s:
            self._spans.rewrite(after_s=rewrite_s)
        while (names := self._spans.unneeded_audio()) and not self._stopping.is_set():
            for sha256 in names:
                self._blobs.discard(sha256, older_than_s=SETTLED_S)
            files += len(names)
        if self._spans.lock("repair", seconds=REPAIR_INTERVAL_S):
            orphan_s = self._settings.retention.orphan_s
            files += self._blobs.sweep(older_than_s=orphan_s, held=self._spans.needed_audio)
        if expired or files:
            log.info("swept", jobs=expired, files=files)

    def clean_host(self) -> None:
        """Delete this host's decoded sound and copies that nobody needs; every host does it for itself."""
        if time.monotonic() - self._cleaned_at < SWEEP_INTERVAL_S:
            return
        self._cleaned_at = time.monotonic()
        before = clock(self._settings.pcm_dir) - self._settings.retention.orphan_s
        for path in self._settings.pcm_dir.glob("*"):
            if modified(path) < before and not self._spans.works_on(path.stem):
                path.unlink(missing_ok=True)
        copies = DiskBlobs(self._settings.copy_dir)
        copies.sweep(older_than_s=self._settings.retention.orphan_s, held=self._spans.needed_audio)

    def _expire(self) -> int:
        """Go on until nothing is due, for half of the time between two sweeps at most; how many jobs moved."""
        ends = time.monotonic() + SWEEP_INTERVAL_S / 2
        moved = 0
        while (slice_moved := self._spans.sweep()) and not self._stopping.is_set():
            moved += slice_moved
            if time.monotonic() > ends:
                break
        return moved
