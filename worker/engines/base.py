"""What a speech engine does for the worker."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from transcription.media.audio import Samples
from transcription.options import Decoding
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import ModelCall

WINDOW_S = 30.0


class Engine(Protocol):
    """
    A loaded model that many threads may use at the same time; it works on all their windows together.

    Its attributes name where and in what arithmetic it computes.
    """

    name: str
    device: str
    compute_type: str

    @property
    def steps(self) -> int:
        """How often the model has come back with something; a number that stands still shows that it hangs."""

    def progress(self, owner: str) -> int | None:
        """
        How far the windows of *owner* are: a number that stands still shows that one of them hangs.

        None while none of them is being computed: they wait for their turn.
        """

    def calls(self) -> Sequence[ModelCall]:
        """The calls into the model that haven't come back yet; one that is old hangs, though nobody waits for it."""

    def detect_language(
        self,
        window: Samples,
        *,
        owner: str = "language",
        cancelled: Callable[[], bool] = ...,
        fast_short: bool = ...,
        languages: Sequence[str] = ...,
    ) -> tuple[str, float]:
        """
        Find the language of *window* (mono, float32, 16 kHz, at most 30 s): its ISO 639-1 code and probability.

        *owner* and *cancelled* are those of `transcribe`; `progress` tells of this window too. *fast_short*: it is all
        of the recording, and may be heard in its own length. *languages*: those that it can be, none: any; given only
        where a client restricted them. The probability is then that among them.

        Raises:
            EngineFailed: the model raised an error.
            InvalidOption: it knows none of *languages*.
        """

    def transcribe(
        self,
        windows: Iterable[Window],
        decoding: Decoding,
        *,
        language: str,
        owner: str,
        cancelled: Callable[[], bool],
        skipped: Callable[[Span], None] = ...,
        told: Callable[[str], None] = ...,
    ) -> Iterator[list[Segment]]:
        """
        Yield each window's segments, in order, in the recording's seconds; nothing for silence.

        Args:
            windows: Taken from as the model gets through them, a few ahead.
            language: ISO 639-1 code. Where *decoding* is `multilingual` that of the window before the first one: each
                window's is told anew, see `worker.engines.languages`, and its segments have it.
            owner: Computation that the windows belong to; owners take turns.
            cancelled: Asked between batches; when it says so, the rest isn't computed.
            skipped: Called, before a window's segments come, with each part of it that was left out.
            told: Given, and called before a window's segments come, only where *decoding* is `multilingual`: the
                window's language, with which whoever goes on after this window begins.

        Raises:
            EngineFailed: the model raised an error on these windows.
            InvalidOption: it doesn't know *language*, or can't do the task.
            Stopped: *cancelled* said so, or the engine was closed.
        """

    def close(self) -> None:
        """Give the model's memory back. What is still in work ends with Stopped."""
