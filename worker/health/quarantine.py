"""Quarantine: a worker that keeps meeting faults of the platform stops claiming until its probes pass."""

import random
import threading
from collections import Counter
from collections.abc import Callable

import structlog

from transcription.errors import (
    BlobMissing,
    DiskFull,
    ModelUnavailable,
    MurmurationError,
    ScratchFailed,
    StorageUnavailable,
)

log = structlog.get_logger()

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

MODEL = "model "
STORAGE = "storage"
SCRATCH = "scratch"
_PARTS = {BlobMissing: STORAGE, StorageUnavailable: STORAGE, DiskFull: SCRATCH, ScratchFailed: SCRATCH}

Probe = Callable[[str], None]
"""Tries the part of that name, and raises what is wrong with it."""


class Quarantine:
    """
    What of this worker is unfit, by part: `storage` and `scratch`, without which it can't do anything, and each model.

    A part is unfit after *limit* faults in a row, a model after its first: loading it takes long, and another worker
    may have it. A thread probes it with growing pauses, and it is fit again as soon as its probe passes. Where spans
    fail though the probe passes, the pauses go on growing until one succeeds.

    Args:
        probe: Tries a part.
        models: What the worker computes with.
        changed: Called when there is no model left that the worker may claim for (False), or one again (True).
        limit: Faults in a row after which a part is unfit.
    """

    def __init__(
        self,
        probe: Probe,
        models: tuple[str, ...],
        *,
        changed: Callable[[bool], None] = lambda _: None,
        limit: int = 3,
    ) -> None:
        self._probe = probe
        self._models = models
        self._changed = changed
        self._limit = limit
        self._row: Counter[str] = Counter()
        self._unfit: dict[str, str] = {}
        self._pauses: dict[str, float] = {}
        self._lock = threading.Lock()
        self._saying = threading.Lock()
        self._closed = threading.Event()

    def met(self, error: MurmurationError, *, model: str) -> None:
        """Count a fault of the platform that a span of *model* met."""
        part = MODEL + model if isinstance(error, ModelUnavailable) else _PARTS.get(type(error))
        if part is None:
            return
        with self._lock:
            self._row[part] += 1
            enough = part.startswith(MODEL) or self._row[part] >= self._limit
            if not enough or part in self._unfit:
                return
            self._unfit[part] = error.message
        log.error("quarantine", part=part, reason=error.message)
        self._say_whether_open()
        threading.Thread(target=self._until_fit, args=[part], name=f"probe-{part}", daemon=True).start()

    def passed(self, *, model: str) -> None:
        """A span came to an end that isn't the platform's fault."""
        with self._lock:
            for part in (STORAGE, SCRATCH, MODEL + model):
                self._row.pop(part, None)
                self._pauses.pop(part, None)

    def close(self) -> None:
        """Probe no further."""
        self._closed.set()

    @property
    def open(self) -> bool:
        """Whether the worker may claim, if for any model."""
        return not any(part in self._unfit for part in (STORAGE, SCRATCH))

    @property
    def parts(self) -> tuple[str, ...]:
        """What is unfit."""
        with self._lock:
            return tuple(self._unfit)

    @property
    def reason(self) -> str:
        """What is unfit and why, in words; empty when all is well."""
        with self._lock:
            return "; ".join(f"{part}: {said}" for part, said in self._unfit.items())

    def without(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Those of *models* that can be computed with now."""
        return tuple(name for name in models if self.open and MODEL + name not in self._unfit)

    def _say_whether_open(self) -> None:
        with self._saying:  # of two parts that change at once, the last to speak says what is so by then
            self._changed(bool(self.without(self._models)))

    def _until_fit(self, part: str) -> None:
        pause = self._pauses.get(part, 0.0)
        while not self._closed.wait(pause * random.uniform(0.5, 1.0)):
            pause = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause))
            try:
                self._probe(part)
            except Exception as error:  # noqa: BLE001  whatever it is, the part isn't fit
                with self._lock:
                    self._unfit[part] = str(error)[:500] or type(error).__name__
                log.warning("quarantine goes on", part=part, reason=str(error)[:500], next_probe_s=pause)
                continue
            with self._lock:
                del self._unfit[part]
                self._row.pop(part, None)
                self._pauses[part] = pause
            log.info("quarantine is over", part=part)
            self._say_whether_open()
            return
