"""An engine for volume: it takes a set time for each window and says what it heard as a digest, so that a transcript
tells whether any window was lost, doubled or mixed up. A prompt makes it misbehave."""

import ctypes
import hashlib
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from transcription.errors import ModelUnavailable, Stopped
from transcription.media.audio import Samples
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import ModelCall

WINDOW_TAKES_S = float(os.environ.get("STUB_WINDOW_S", "0.05"))
PACES = {"slow": 60.0, "steady": 0.5, "long": 4.0}
HOG: list[bytearray] = []
MOST_BYTES = 8_000_000_000


def said(samples: Samples) -> str:
    return " " + hashlib.sha256(samples.tobytes()).hexdigest()[:16]


class StubEngine:
    name = "stub"
    device = "cpu"
    compute_type = "none"
    steps = 0

    def __init__(self) -> None:
        self._moved: Counter[str] = Counter()

    def progress(self, owner: str) -> int | None:
        """Every window is in work as soon as it comes: nobody waits for a turn. One that takes long goes on, too."""
        return self._moved[owner]

    def calls(self) -> tuple[ModelCall, ...]:
        return ()

    def detect_language(self, window: Samples, **_: object) -> tuple[str, float]:
        return "en", 1.0

    def transcribe(
        self,
        windows: Iterable[Window],
        decoding: Decoding,
        *,
        language: str,
        owner: str,
        cancelled: Callable[[], bool],
        skipped: Callable[[Span], None] = lambda _: None,
    ) -> Iterator[list[Segment]]:
        for window in windows:
            misbehave(decoding.prompt)
            end = time.monotonic() + PACES.get(decoding.prompt or "", WINDOW_TAKES_S)
            while time.monotonic() < end:
                if cancelled():
                    raise Stopped("nobody waits for this any more")
                time.sleep(0.01)
                self._moved[owner] += 1
            self.steps += 1
            self._moved[owner] += 1
            yield window.restore([Segment(0.0, window.seconds, said(window.samples))])

    def close(self) -> None:
        return


def misbehave(prompt: str | None) -> None:
    if prompt == "exit":
        os._exit(9)
    if prompt == "segfault":
        ctypes.string_at(0)
    if prompt == "eat":
        # Of the whole process: what is at fault isn't the only one that gets no memory any more.
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
        while True:
            HOG.append(bytearray(64 << 20))
    if prompt == "hang":
        time.sleep(3600)  # fine: it hangs
    if prompt == "raise":
        raise RuntimeError("boom")


def load(name: str, settings: Settings) -> StubEngine:
    if os.environ.get("STUB_NO_MODEL") and not Path(os.environ["STUB_NO_MODEL"]).exists():
        raise ModelUnavailable("the stub's weights are away")
    return StubEngine()
