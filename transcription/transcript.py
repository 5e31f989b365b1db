"""Transcript: what was said, and when. All times are seconds from the start of the recording."""

from collections.abc import Iterable
from dataclasses import dataclass

from transcription.result_warning import ResultWarning


@dataclass(frozen=True, slots=True)
class Word:
    """
    One word with its leading space, as the model writes it; ``probability`` in [0, 1].

    ``speaker`` and ``overlap`` (another speaks at the same time) are told where speakers were asked for.
    """

    start: float
    end: float
    word: str
    probability: float
    speaker: str | None = None
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """
    One stretch of speech as the model delimits it, with the figures by which its quality is judged.

    ``speaker`` and ``overlap`` are told where speakers were asked for; a segment then ends where the speaker changes.
    ``language`` (ISO 639-1) is told where there may be several in one recording, ``channel`` (from 1 on) where each
    channel was transcribed by itself.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] | None = None
    low_confidence: bool = False
    speaker: str | None = None
    overlap: bool = False
    language: str | None = None
    channel: int | None = None
    channel_name: str | None = None

    @property
    def voice(self) -> str | None:
        """Whose this is, by the best name there is; None where nobody asked."""
        if self.speaker is not None or self.channel is None:
            return self.speaker
        return self.channel_name or f"Channel {self.channel}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """
    The segments of a whole recording, ordered by time.

    ``warnings`` say what it lacks; ``words`` whether the words' times were asked for.
    """

    segments: tuple[Segment, ...]
    language: str | None
    language_probability: float | None
    duration: float
    task: str
    model: str
    complete: bool = True
    warnings: tuple[ResultWarning, ...] = ()
    words: bool = False

    @property
    def text(self) -> str:
        """All that was said, on one line."""
        return "".join(segment.text for segment in self.segments).strip()


def merge(parts: Iterable[Iterable[Segment]]) -> tuple[Segment, ...]:
    """
    Join the segments of a recording's spans.

    Args:
        parts: For each span, in the order of time, its segments in absolute seconds.

    Returns:
        All segments in the order of time. Spans are cut in silence, so that no segment stands in two of them.
    """
    return tuple(sorted((segment for part in parts for segment in part), key=lambda s: (s.start, s.end)))
