"""How busy a GPU was and how much of it was held, and what the host's processor did, while a block ran."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from transcription.observability.gpus import gpus

INTERVAL_S = 0.1


class Watch:
    """Looks at the first visible GPU and at this process with its children; `figures` may be asked meanwhile."""

    def __enter__(self) -> "Watch":
        self._gpu: list[float] = []
        self._memory: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._ended: tuple[float, float] | None = None
        self._began = time.perf_counter(), cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.perf_counter(), cpu_s()
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(INTERVAL_S):
            seen = gpus(os.environ)
            if not seen:
                return
            self._gpu.append(seen[0].utilisation)
            self._memory.append(seen[0].used_bytes)

    def figures(self, count: int) -> dict[str, Any]:
        """What *count* windows have cost so far."""
        now, cpu = self._ended or (time.perf_counter(), cpu_s())
        wall, spent = max(now - self._began[0], 1e-9), cpu - self._began[1]
        busy = statistics.mean(self._gpu) if any(self._gpu) else None
        return {
            "windows": count,
            "s": round(wall, 2),
            "win_s": round(count / wall, 2),
            "gpu_busy": None if busy is None else round(busy, 3),
            "gpu_waits": None if busy is None else round(1 - busy, 3),
            "gib": round(max(self._memory) / 2**30, 1) if any(self._memory) else None,
            "cores": round(spent / wall, 2),
            "cpu_s_window": round(spent / count, 4) if count else None,
        }


@contextmanager
def seconds_of() -> Iterator[list[float]]:
    """The block's wall time, in the list once it has ended."""
    start, spent = time.perf_counter(), [0.0]
    yield spent
    spent[0] = round(time.perf_counter() - start, 1)


def cpu_s() -> float:
    """Seconds of this process, of its children, and of those of theirs that have ended."""
    own, total = psutil.Process(), 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has just ended, and counts among its parent's
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
