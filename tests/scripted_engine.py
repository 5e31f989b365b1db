"""An engine that notes what it is asked, and does what the test says; the worker around it is the real one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from transcription.media.audio import Samples
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import ModelCall


@dataclass
class Script:
    """
    What was asked, and what is to happen.

    `before` is called with each window's number in its span; `cancelled` is what the worker gave the engine to ask.
    `spoken` is told of each window of a multilingual recording; `detected` is what comes of asking for the language.
    `skipped` says in which windows, by number, the model gets no further, and where.
    """

    windows: list[tuple[float, float]] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    detections: int = 0
    detected: str = "fr"
    fast_short: list[bool] = field(default_factory=list)
    loudest: float = 0.0
    skipped: dict[int, Span] = field(default_factory=dict)
    spoken: str | None = None
    asked_among: list[tuple[str, ...]] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


script = Script()


class ScriptedEngine:
    """One segment for each window, whose text is where it begins."""

    name = "scripted"
    device = "cpu"
    compute_type = "none"
    steps = 0

    def progress(self, owner: str) -> int | None:
        return None

    def calls(self) -> tuple[ModelCall, ...]:
        return ()

    def detect_language(self, window: Samples, *, languages: tuple[str, ...] = (), **_: object) -> tuple[str, float]:
        script.detections += 1
        script.asked_among.append(languages)
        return script.detected, 0.75

    def transcribe(
        self,
        windows: Iterable[Window],
        decoding: Decoding,
        *,
        language: str,
        owner: str,
        cancelled: Callable[[], bool],
        skipped: Callable[[Span], None] = lambda _: None,
        told: Callable[[str], None] = lambda _: None,
    ) -> Iterator[list[Segment]]:
        script.cancelled = cancelled
        script.languages.append(language)
        script.fast_short.append(decoding.fast_short)
        for number, window in enumerate(windows):
            script.before(number)
            if number in script.skipped:
                skipped(script.skipped[number])
            first = window.stretches[0].start
            script.windows.append((first, window.stretches[-1].end))
            script.loudest = max(script.loudest, float(abs(window.samples).max()))
            if script.spoken:
                told(script.spoken)
            yield [Segment(first, first + 0.5, f" {first:.1f}", language=script.spoken)]

    def close(self) -> None:
        return


def load(name: str, settings: Settings) -> ScriptedEngine:
    return ScriptedEngine()
