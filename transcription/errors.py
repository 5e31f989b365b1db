"""
Everything that can go wrong, as one tree.

    MurmurationError
    ├── InvalidRequest            the request itself is wrong; nothing was stored
    │   ├── MalformedRequest      malformed_request
    │   ├── MissingFile           missing_file
    │   ├── TooManyFiles          too_many_files
    │   ├── EmptyFile             empty_file
    │   ├── BadBase64             bad_base64
    │   ├── UploadIncomplete      upload_incomplete
    │   ├── UnknownOption         unknown_option
    │   ├── InvalidOption         invalid_option
    │   ├── ModelNotServed        model_not_served
    │   ├── IdempotencyConflict   idempotency_conflict
    │   ├── UrlNotAllowed         url_not_allowed
    │   └── UrlUnreachable        url_unreachable
    ├── InvalidAudio              the audio can't be transcribed
    │   ├── TooLarge              too_large
    │   ├── UnsupportedMedia      unsupported_media
    │   ├── NoAudioStream         no_audio_stream
    │   ├── NoSamples             no_samples
    │   ├── TooLong               too_long
    │   └── CorruptAudio          corrupt_audio
    ├── NotAllowed                who asks may not do this
    │   ├── Unauthorized          unauthorized
    │   └── Forbidden             forbidden
    ├── WrongState                the job isn't in a state that allows this
    │   ├── JobNotFound           job_not_found
    │   ├── ResultNotReady        result_not_ready
    │   ├── JobFailed             job_failed
    │   ├── JobCanceled           job_canceled
    │   ├── JobFinished           job_finished
    │   ├── JobExpired            job_expired
    │   ├── DeadLetterNotFound    dead_letter_not_found
    │   ├── WebhookSecretNotFound webhook_secret_not_found
    │   └── NoWebhook             no_webhook
    ├── Unavailable               try again later; carries retry_after_s
    │   ├── LedgerUnavailable     ledger_unavailable
    │   │   ├── OutcomeUnknown    outcome_unknown  (a submit whose answer was lost; carries job_id)
    │   │   ├── LedgerTooNew      ledger_too_new
    │   │   └── LedgerFault       ledger_fault     (a defect: 500, and in the log)
    │   ├── LedgerFull            ledger_full
    │   ├── MemoryPressure        memory_pressure
    │   ├── DiskFull              disk_full
    │   ├── StorageUnavailable    storage_unavailable
    │   ├── QueueFull             queue_full
    │   ├── RateLimited           rate_limited
    │   └── QuotaExceeded         quota_exceeded
    └── ComputeError              a worker couldn't do its part
        ├── WorkerLost            worker_lost
        ├── DecoderFailed         decoder_failed
        ├── EngineFailed          engine_failed
        ├── ModelUnavailable      model_unavailable
        ├── BlobMissing           blob_missing
        ├── BlobDamaged           blob_damaged
        ├── DeadlineExceeded      deadline_exceeded
        ├── ScratchFailed         scratch_failed
        ├── ResultIncomplete      result_incomplete
        ├── NameTaken             name_taken       (never shown: two workers have one name)
        ├── LeaseLost             lease_lost       (never shown: another worker holds the span)
        └── Stopped               stopped          (never shown: the span was handed back)

A leaf has a stable ``code`` and says whether trying again can help; its message names the value and the limit. Its
``fault`` says whose it is, which decides what becomes of a span that met it (see `transcription.retry`): the input's is
final, the engine's counts an attempt, the platform's counts none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose fault an error is."""

    INPUT = "input"
    ENGINE = "engine"
    PLATFORM = "platform"


class MurmurationError(Exception):
    """Root of the tree. Subclasses that carry a ``code`` are leaves; only leaves are raised."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = Fault.INPUT
    advice: ClassVar[str] = ""
    """What an operator should do about a dead letter that has this code."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(MurmurationError):
    """The request itself is wrong."""


class MalformedRequest(InvalidRequest):
    """The body or a parameter can't be parsed."""

    code = "malformed_request"


class MissingFile(InvalidRequest):
    """No audio came with the request."""

    code = "missing_file"


class TooManyFiles(InvalidRequest):
    """More than one file came with the request."""

    code = "too_many_files"


class EmptyFile(InvalidRequest):
    """The file has no bytes."""

    code = "empty_file"


class BadBase64(InvalidRequest):
    """The audio field isn't valid base64."""

    code = "bad_base64"


class UploadIncomplete(InvalidRequest):
    """The connection ended before the body did."""

    code = "upload_incomplete"
    retryable = True


class UnknownOption(InvalidRequest):
    """A field that no option has."""

    code = "unknown_option"


class InvalidOption(InvalidRequest):
    """An option's value is of the wrong type or out of range."""

    code = "invalid_option"


class ModelNotServed(InvalidRequest):
    """No worker of this platform serves the model."""

    code = "model_not_served"


class IdempotencyConflict(InvalidRequest):
    """The idempotency key was used before with another payload."""

    code = "idempotency_conflict"


class UrlNotAllowed(InvalidRequest):
    """The URL leads where the platform doesn't go, or it takes none."""

    code = "url_not_allowed"


class UrlUnreachable(InvalidRequest):
    """Nothing can be had from the URL now."""

    code = "url_unreachable"
    retryable = True


class InvalidAudio(MurmurationError):
    """The audio can't be transcribed, whoever tries."""


class TooLarge(InvalidAudio):
    """More bytes than the platform takes."""

    code = "too_large"


class UnsupportedMedia(InvalidAudio):
    """The bytes are no audio or video that the decoder knows."""

    code = "unsupported_media"


class NoAudioStream(InvalidAudio):
    """A video, or another container, without sound."""

    code = "no_audio_stream"


class NoSamples(InvalidAudio):
    """Audio that decodes to nothing."""

    code = "no_samples"


class TooLong(InvalidAudio):
    """More seconds than the platform takes."""

    code = "too_long"


class CorruptAudio(InvalidAudio):
    """The decoder gave up on the stream before it gave any usable sound."""

    code = "corrupt_audio"


class NotAllowed(MurmurationError):
    """Who asks may not do this."""


class Unauthorized(NotAllowed):
    """No API key came with the request, or one that isn't valid."""

    code = "unauthorized"


class Forbidden(NotAllowed):
    """The API key is valid, but not for this."""

    code = "forbidden"


class WrongState(MurmurationError):
    """The job isn't in a state that allows this."""


class JobNotFound(WrongState):
    """No such job, or somebody else's."""

    code = "job_not_found"


class ResultNotReady(WrongState):
    """The result was asked for before it exists."""

    code = "result_not_ready"
    retryable = True


class JobFailed(WrongState):
    """The result of a failed job was asked for."""

    code = "job_failed"


class JobCanceled(WrongState):
    """The result of a canceled job was asked for."""

    code = "job_canceled"


class JobFinished(WrongState):
    """A finished job can't be canceled."""

    code = "job_finished"


class JobExpired(WrongState):
    """The result's retention has passed."""

    code = "job_expired"


class DeadLetterNotFound(WrongState):
    """No such entry among the dead letters."""

    code = "dead_letter_not_found"


class WebhookSecretNotFound(WrongState):
    """No such webhook secret of this tenant."""

    code = "webhook_secret_not_found"


class NoWebhook(WrongState):
    """The job has no message that could be sent again."""

    code = "no_webhook"


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


class ComputeError(MurmurationError):
    """A worker couldn't do its part."""

    fault = Fault.ENGINE


class WorkerLost(ComputeError):
    """Every worker that tried the span died or hung."""

    code = "worker_lost"
    advice = "The recording may crash or hang the model: listen to it, look at the workers' last log lines; then retry."


class DecoderFailed(ComputeError):
    """The process that decodes was killed, or made no progress."""

    code = "decoder_failed"
    retryable = True
    advice = (
        "The decoder was killed or hung: look at the workers' memory (MURMUR_SECURITY__SANDBOX_MEMORY_BYTES); retry."
    )


class EngineFailed(ComputeError):
    """The engine raised an error on this audio."""

    code = "engine_failed"
    retryable = True
    advice = "The message is the engine's own; retry it after an update, or drop it."


class ModelUnavailable(ComputeError):
    """The model can't be loaded: not on disk, and no hub to fetch it from."""

    code = "model_unavailable"
    retryable = True
    fault = Fault.PLATFORM
    advice = "Put the model where workers find it, or give them one that can (MURMUR_MODEL), then retry it."


class BlobMissing(ComputeError):
    """The audio isn't in the blob store, as this worker sees it."""

    code = "blob_missing"
    retryable = True
    fault = Fault.PLATFORM
    advice = (
        "See that workers share the data directory with the API; if the audio is gone, submit it again and drop this."
    )


class BlobDamaged(ComputeError):
    """The stored bytes aren't those that were uploaded; they were set aside."""

    code = "blob_damaged"
    retryable = True
    fault = Fault.PLATFORM
    advice = "Look at the disk or bucket of the audio; submit the recording again, and the job goes on by itself."


class ResultIncomplete(ComputeError):
    """What was written doesn't cover the recording, again and again."""

    code = "result_incomplete"
    retryable = True
    advice = "Look whether the ledger lost writes (its AOF, its disk), then submit the recording again and drop this."


class DeadlineExceeded(ComputeError):
    """The job wasn't done before its deadline."""

    code = "deadline_exceeded"
    retryable = True
    fault = Fault.PLATFORM
    advice = "Look why it waited so long: workers that suit it, the length of the queue; then retry it, or drop it."


class ScratchFailed(ComputeError):
    """This worker's own disk can't be read or written."""

    code = "scratch_failed"
    retryable = True
    fault = Fault.PLATFORM
    advice = "Look at the disk of the host that the message names, then retry it."


class NameTaken(ComputeError):
    """Another worker of this name lives; ``for_good``: it has this one's place."""

    code = "name_taken"

    def __init__(self, message: str, *, for_good: bool) -> None:
        super().__init__(message)
        self.for_good = for_good


class LeaseLost(ComputeError):
    """The fencing token is old: another worker holds the span."""

    code = "lease_lost"


class Stopped(ComputeError):
    """The worker was told to stop, or nobody waits for this span any more."""

    code = "stopped"


def leaves(root: type[MurmurationError] = MurmurationError) -> Iterator[type[MurmurationError]]:
    """Yield every error class below *root* that carries a code."""
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from leaves(child)


def advice(code: str) -> str:
    """What an operator should do about a dead letter with this *code*."""
    said = {leaf.code: leaf.advice for leaf in leaves()}
    return said.get(code) or "Look at the workers' log for its computation, then retry or drop it."
