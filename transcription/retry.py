"""What happens after a span has failed."""

from dataclasses import dataclass

from transcription.errors import EngineFailed, MurmurationError
from transcription.job import Failure


@dataclass(frozen=True, slots=True)
class Retry:
    """Try once more, after *delay_s* seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The computation fails."""

    failure: Failure


def decide(error: Exception, attempt: int, *, max_attempts: int) -> Retry | GiveUp:
    """
    Decide what to do after *error*.

    Args:
        error: What the pipeline raised; anything outside our tree counts as the engine's failure.
        attempt: How many attempts there have been, this one included; from 1.
        max_attempts: How many there may be.
    """
    if not isinstance(error, MurmurationError):
        error = EngineFailed(f"{type(error).__name__}: {error}"[:500])
    if error.retryable and attempt < max_attempts:
        return Retry(delay_s=min(30.0, 2.0 ** (attempt - 1)))
    return GiveUp(Failure(code=error.code, message=error.message, retryable=error.retryable))
