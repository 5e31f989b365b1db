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
    │   ├── InvalidReference      invalid_reference
    │   ├── ReferenceWithoutSpeech reference_without_speech
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
    │   ├── IndexMissing          index_missing
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
    │   ├── ResultLost            result_lost
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

from transcription.errors.base import (
    Fault,
    MurmurationError,
)
from transcription.errors.compute import (
    BlobDamaged,
    BlobMissing,
    ComputeError,
    DeadlineExceeded,
    DecoderFailed,
    EngineFailed,
    LeaseLost,
    ModelUnavailable,
    NameTaken,
    ResultIncomplete,
    ScratchFailed,
    Stopped,
    WorkerLost,
)
from transcription.errors.request import (
    BadBase64,
    CorruptAudio,
    EmptyFile,
    Forbidden,
    IdempotencyConflict,
    IndexMissing,
    InvalidAudio,
    InvalidOption,
    InvalidReference,
    InvalidRequest,
    MalformedRequest,
    MissingFile,
    ModelNotServed,
    NoAudioStream,
    NoSamples,
    NotAllowed,
    ReferenceWithoutSpeech,
    TooLarge,
    TooLong,
    TooManyFiles,
    Unauthorized,
    UnknownOption,
    UnsupportedMedia,
    UploadIncomplete,
    UrlNotAllowed,
    UrlUnreachable,
)
from transcription.errors.state import (
    DeadLetterNotFound,
    JobCanceled,
    JobExpired,
    JobFailed,
    JobFinished,
    JobNotFound,
    NoWebhook,
    ResultLost,
    ResultNotReady,
    WebhookSecretNotFound,
    WrongState,
)
from transcription.errors.unavailable import (
    DiskFull,
    LedgerFault,
    LedgerFull,
    LedgerTooNew,
    LedgerUnavailable,
    MemoryPressure,
    OutcomeUnknown,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    StorageUnavailable,
    Unavailable,
    outage_endured,
)

__all__ = [
    "BadBase64",
    "BlobDamaged",
    "BlobMissing",
    "ComputeError",
    "CorruptAudio",
    "DeadLetterNotFound",
    "DeadlineExceeded",
    "DecoderFailed",
    "DiskFull",
    "EmptyFile",
    "EngineFailed",
    "Fault",
    "Forbidden",
    "IdempotencyConflict",
    "IndexMissing",
    "InvalidAudio",
    "InvalidOption",
    "InvalidReference",
    "InvalidRequest",
    "JobCanceled",
    "JobExpired",
    "JobFailed",
    "JobFinished",
    "JobNotFound",
    "LeaseLost",
    "LedgerFault",
    "LedgerFull",
    "LedgerTooNew",
    "LedgerUnavailable",
    "MalformedRequest",
    "MemoryPressure",
    "MissingFile",
    "ModelNotServed",
    "ModelUnavailable",
    "MurmurationError",
    "NameTaken",
    "NoAudioStream",
    "NoSamples",
    "NoWebhook",
    "NotAllowed",
    "OutcomeUnknown",
    "QueueFull",
    "QuotaExceeded",
    "RateLimited",
    "ReferenceWithoutSpeech",
    "ResultIncomplete",
    "ResultLost",
    "ResultNotReady",
    "ScratchFailed",
    "Stopped",
    "StorageUnavailable",
    "TooLarge",
    "TooLong",
    "TooManyFiles",
    "Unauthorized",
    "Unavailable",
    "UnknownOption",
    "UnsupportedMedia",
    "UploadIncomplete",
    "UrlNotAllowed",
    "UrlUnreachable",
    "WebhookSecretNotFound",
    "WorkerLost",
    "WrongState",
    "advice",
    "leaves",
    "outage_endured",
]


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
