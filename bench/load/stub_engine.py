"""An engine that computes nothing: one segment for each window. The worker around it is the real one."""

from collections.abc import Callable, Iterable, Iterator

from transcription.media.audio import Samples
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import ModelCall

SAID = " and so the flock turns over the reeds at dusk as one"


class StubEngine:
    """Says the same of every window."""

    name = "stub"
    device = "cpu"
    compute_type = "none"
    steps = 0

    def progress(self, owner: str) -> int | None:  # noqa: ARG002  it has none
        """Nothing moves between two windows."""
        return None

    def calls(self) -> tuple[ModelCall, ...]:
        """No model is called."""
        return ()

    def detect_language(self, window: Samples, **_: object) -> tuple[str, float]:  # noqa: ARG002  always the same
        """English."""
        return "en", 0.9

    def transcribe(
        self,
        windows: Iterable[Window],
        decoding: Decoding,  # noqa: ARG002
        *,
        language: str,  # noqa: ARG002
        owner: str,  # noqa: ARG002
        cancelled: Callable[[], bool],  # noqa: ARG002
        skipped: Callable[[Span], None] = lambda _: None,  # noqa: ARG002
    ) -> Iterator[list[Segment]]:
        """One segment for each window."""
        for window in windows:
            first = window.stretches[0].start
            yield [Segment(first, first + 0.5, SAID)]

    def close(self) -> None:
        """Nothing to let go."""


def load(_name: str, _settings: Settings) -> StubEngine:
    """What `MURMUR_WORKER__ENGINE=bench.load.stub_engine:load` asks for."""
    return StubEngine()
