"""One figure of the table: recordings through a task, a few at a time."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engines.gpu.record import keep, say
from bench.engines.gpu.watch import Watch
from bench.speech.corpus import Clip, word_errors

Task = Callable[[Path], tuple[str, int]]
"""Transcribes a file: the text, and how many windows it took."""

EVERY_S = 5.0
"""How often it is kept how far a measurement is."""


class _Done:
    """What has come back so far; several threads add to it. Words are compared only when somebody asks."""

    def __init__(self) -> None:
        self.windows = self._wrong = self._words = 0
        self._seconds: list[float] = []
        self._texts: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def add(self, clip: Clip, text: str, windows: int, seconds: float) -> None:
        with self._lock:
            self._seconds.append(seconds)
            self._texts.append((clip.text, text))
            self.windows += windows

    def figures(self) -> dict[str, Any]:
        with self._lock:
            seconds, texts = [*self._seconds], self._texts
            self._texts = []
        for said, text in texts:
            wrong, words = word_errors(said, text)
            self._wrong, self._words = self._wrong + wrong, self._words + words
        if not seconds:
            return {}
        return {
            "clips": len(seconds), "wrong": f"{self._wrong} of {self._words}",
            "median_s": round(statistics.median(seconds), 3), "max_s": round(max(seconds), 3),
        }  # fmt: skip


def measured(label: str, task: Task, given: Sequence[Clip], at_once: int, **more: Any) -> None:
    """
    Run *task* over all clips, so many at once, and keep what came of it.

    Every few seconds it is kept how far it is. An error is a figure too: whoever called goes on with the next one.
    """
    done = _Done()
    more |= {"at_once": at_once, "audio_s": round(sum(clip.seconds for clip in given))}

    def one(clip: Clip) -> None:
        start = time.perf_counter()
        text, windows = task(clip.path)
        done.add(clip, text, windows, time.perf_counter() - start)

    def so_far(watch: Watch) -> dict[str, Any]:
        return {"label": label, **more, **watch.figures(done.windows), **done.figures()}

    with tried(label, **more):
        pool = ThreadPoolExecutor(at_once)
        try:
            with Watch() as watch, _told_now_and_then(lambda: so_far(watch)):
                for future in [pool.submit(one, clip) for clip in given]:
                    future.result()
            say(what="measured", **so_far(watch))
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def tried(label: str, **more: Any) -> Iterator[None]:
    """Keep the block's error, and go on after it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the next figure may work
        said = str(error).strip().splitlines() or [""]
        say(what="failed", label=label, **more, error=f"{type(error).__name__}: {said[0]}"[:300])


@contextmanager
def _told_now_and_then(figures: Callable[[], dict[str, Any]]) -> Iterator[None]:
    end = threading.Event()

    def tell() -> None:
        while not end.wait(EVERY_S):
            keep(what="partial", **figures())

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
