"""What the platform can't take now; each says when another try is worth it."""

from collections.abc import Iterator
from contextlib import contextmanager

from transcription.errors.base import Fault, MurmurationError


class Unavailable(MurmurationError):
    """The platform can't take this now. ``retry_after_s`` says when it is worth another try."""

    retryable = True
    fault = Fault.PLATFORM

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LedgerUnavailable(Unavailable):
    """Redis can't be reached, or refuses to write."""

    code = "ledger_unavailable"


class OutcomeUnknown(LedgerUnavailable):
    """Whether the job was accepted isn't known. If it exists, it has the id ``job_id``."""

    code = "outcome_unknown"

    def __init__(self, message: str, *, job_id: str, retry_after_s: int) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.job_id = job_id


class LedgerTooNew(LedgerUnavailable):
    """The ledger's keys have a form that only a newer version of the platform knows."""

    code = "ledger_too_new"


class LedgerFault(LedgerUnavailable):
    """A step of the ledger failed by its own fault, not because the server is away."""

    code = "ledger_fault"
    retryable = False


@contextmanager
def outage_endured() -> Iterator[None]:
    """For those who wait: inside the block an outage of the ledger is passed over, and the caller looks again."""
    try:
        yield
    except (LedgerFault, LedgerTooNew):
        raise
    except LedgerUnavailable:
        return


class LedgerFull(Unavailable):
    """The ledger's memory is nearly used up: what is left is for the jobs that were accepted."""

    code = "ledger_full"


class MemoryPressure(Unavailable):
    """The machine's memory is nearly used up."""

    code = "memory_pressure"


class DiskFull(Unavailable):
    """Too little disk is left for uploads."""

    code = "disk_full"
    advice = "Free disk on the host that the message names, then retry it."


class StorageUnavailable(Unavailable):
    """The audio's store, a bucket or the API, can't be reached."""

    code = "storage_unavailable"
    advice = "See that workers reach the audio's store (address, credentials, MURMUR_BLOBS__SECRET), then retry it."


class QueueFull(Unavailable):
    """Too many seconds of audio are waiting."""

    code = "queue_full"


class RateLimited(Unavailable):
    """More requests than the key or the address may send."""

    code = "rate_limited"


class QuotaExceeded(Unavailable):
    """The tenant has used up what its tier may compute."""

    code = "quota_exceeded"
