"""What a look at a file finds."""

from dataclasses import dataclass

from transcription.tracks import Track


@dataclass(frozen=True, slots=True)
class AudioStream:
    """One audio stream of a file; *sample_rate* in Hz."""

    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A short recording that was decoded to its end: its length, and the root mean square of full scale 1."""

    duration_s: float
    loudness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a file says of itself; ``duration_s`` is 0.0 where the container doesn't know."""

    container: str
    duration_s: float
    streams: tuple[AudioStream, ...]
    tracks: tuple[Track, ...] = ()
