"""What a diarizer does for the worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from transcription.media.recording import Recording, Sound
from transcription.spans import Span
from transcription.speakers import Diarized
from worker.diarizers.clustering import Speakers, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """
    What was heard in stretches of speech, window by window.

    ``windows`` are seconds of the recording, ordered by their starts; ``vectors`` are unit vectors, shape
    (windows, width); ``both`` are the parts in which two speak at once.
    """

    windows: tuple[Span, ...]
    vectors: Vectors
    both: tuple[Span, ...] = ()

    @classmethod
    def joined(cls, parts: "Sequence[Voices]") -> "Voices":
        """All of several spans', in the order of time."""
        heard = [part for part in parts if part.windows]
        if not heard:
            return cls((), np.zeros((0, 0), np.float32))
        return cls(
            tuple(window for part in heard for window in part.windows),
            np.concatenate([part.vectors for part in heard]),
            tuple(both for part in heard for both in part.both),
        )


class Diarizer(Protocol):
    """
    Tells speakers apart: hears span by span, wherever each is computed, and says in the end who spoke when.

    ``name`` says what computes, to the bit: voices that two diarizers of one name heard can be put together.
    """

    name: str

    def hear(self, speech: Sequence[Span], sound: Sound, *, check: Callable[[], None]) -> Voices:
        """
        The voices in stretches of *speech*.

        *check* is called now and then; what it raises ends the work.

        Raises:
            EngineFailed: the network raised an error.
        """

    def diarize(self, voices: Voices, speech: Sequence[Span], speakers: Speakers) -> Diarized:
        """Who spoke when, of all that was heard in a recording's *speech*, and each voice: turns by their starts."""


@runtime_checkable
class RecordingDiarizer(Protocol):
    """
    Tells speakers apart in a whole recording at once, by one worker.

    ``name`` says what computes, to the bit.
    """

    name: str

    def diarize_recording(self, recording: Recording, speakers: Speakers, *, check: Callable[[], None]) -> Diarized:
        """
        Who speaks when, in the recording's seconds, and each one's voice: turns by their starts.

        *check* is called now and then; what it raises ends the work.

        Raises:
            EngineFailed: the engine raised an error, or died.
        """
