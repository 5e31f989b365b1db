"""What happens after a span has failed."""

import errno
import re
from dataclasses import dataclass

from transcription.errors import DiskFull, EngineFailed, Fault, MurmurationError, ScratchFailed
from transcription.job import Failure

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LONGEST_PAUSE_S = 300.0
# An absolute path, but not a URL's.
_PATH = re.compile(r"(?<![\w/:.\-])/(?:[^\s/'\",;:()]+/)+([^\s/'\",;:()]*)")


@dataclass(frozen=True, slots=True)
class Retry:
    """Try once more, after *delay_s* seconds."""

    delay_s: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The computation fails."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """
    What a span has been through.

    ``attempt`` counts attempts, the present one included, from 1. ``faults`` counts the platform's faults that it met
    before, ``faulting_s`` is the time since the first of those in a row.
    """

    attempt: int
    faults: int = 0
    faulting_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often the engine may fail on a span, and for how long the platform may."""

    max_attempts: int
    platform_s: float


def classified(error: Exception) -> MurmurationError:
    """*error* as one of our tree: what the operating system refuses is the platform's, everything else the engine's."""
    if isinstance(error, MurmurationError):
        return error
    said = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, OSError):
        if error.errno in FULL:
            return DiskFull(f"a disk of the worker is full ({said})", retry_after_s=60)
        return ScratchFailed(f"the worker's disk or network failed ({said})")
    return EngineFailed(said)


def decide(error: Exception, history: History, patience: Patience, *, jitter: float) -> Retry | GiveUp:
    """
    Decide what to do after *error*.

    The input's fault is final. The engine's is tried again until the attempts are used up. The platform's uses up no
    attempt: it is tried again with growing pauses for as long as *patience* has it.

    Args:
        error: What the pipeline raised.
        history: What the span has been through.
        patience: What it may go through.
        jitter: A random number in [0, 1): spans that failed together don't come back together.
    """
    error = classified(error)
    message = without_paths(error.message)
    failure = Failure(code=error.code, message=message, retryable=error.retryable, fault=error.fault)
    if error.fault is Fault.PLATFORM and history.faulting_s < patience.platform_s:
        return Retry(_pause(history.faults, jitter), failure)
    if error.fault is Fault.ENGINE and error.retryable and history.attempt < patience.max_attempts:
        return Retry(min(30.0, 2.0 ** (history.attempt - 1)), failure)
    return GiveUp(failure)


def without_paths(message: str) -> str:
    """*message* as a client may read it: of a path on the server only the last name, as `…/base`."""
    return _PATH.sub(r"…/\1", message)


def _pause(faults: int, jitter: float) -> float:
    # The first comes back at once: another worker may not have that fault.
    longest: float = min(LONGEST_PAUSE_S, 2.0 ** min(faults, 20))
    return longest * (0.5 + jitter / 2)
