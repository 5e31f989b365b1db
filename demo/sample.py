"""The sample recordings, with what is said in them."""

import json
from dataclasses import dataclass
from pathlib import Path

SAMPLES_DIRECTORY = Path(__file__).with_name("samples")


@dataclass(frozen=True)
class SampleSegment:
    """A sentence of a recording; `start` and `end` in seconds; `speaker` where there are several."""

    start: float
    end: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Sample:
    """
    A recording made by espeak-ng, and its reference.

    `language` is the ISO 639-1 code, `None` where nobody speaks. `media_type` is what an upload would declare.
    """

    path: Path
    media_type: str
    language: str | None
    duration_s: float

    @property
    def transcript(self) -> str:
        """What is said, as the model should write it; empty for silence."""
        return self.path.with_suffix(".txt").read_text(encoding="utf-8").strip()

    @property
    def segments(self) -> tuple[SampleSegment, ...]:
        """The sentences with their true times, in order."""
        rows = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        return tuple(SampleSegment(**row) for row in rows)


def _sample(name: str, media_type: str, language: str | None, duration_s: float) -> Sample:
    return Sample(SAMPLES_DIRECTORY / name, media_type, language, duration_s)


SAMPLES = {
    "short": _sample("short.flac", "audio/flac", "en", 11.0),
    "long": _sample("long.flac", "audio/flac", "en", 85.5),
    "german": _sample("german.flac", "audio/flac", "de", 13.1),
    "silence": _sample("silence.flac", "audio/flac", None, 10.0),
    "mp3": _sample("speech.mp3", "audio/mpeg", "en", 13.1),
    "video": _sample("video.mp4", "video/mp4", "en", 10.4),
}
"""By name: `short`, `long` (with pauses), `german`, `silence`, `mp3` and `video`."""

DIALOGUE = _sample("dialogue.flac", "audio/flac", "en", 21.1)
"""Two voices that take turns, neither of which the speaker network was trained on."""
