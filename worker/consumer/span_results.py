"""What one step of work comes to, as Celery is told: exceptions are pickled there, so their messages are enough."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpanResult:
    """What one step of work came to; its text is the result line that Flower shows."""

    span: str
    audio_s: float
    real_time_factor: float

    def __str__(self) -> str:
        return f"{self.span} {self.audio_s:.1f} s of audio, real-time factor {self.real_time_factor:.3f}"


class SpanFailed(Exception):
    """A span's attempt failed; the ledger knows already. It is tried again in ``retry_in_s``, None: never."""

    def __init__(self, message: str, *, retry_in_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s


class SpanRefused(SpanFailed):
    """What a client sent can't be transcribed: an outcome like others, which no operator has to look into."""


class GivenUp(Exception):
    """A span is somebody else's now, or, when its jobs were ``canceled``, nobody's."""

    def __init__(self, message: str, *, canceled: bool) -> None:
        super().__init__(message)
        self.canceled = canceled
