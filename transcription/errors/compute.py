"""What a worker couldn't do."""

from transcription.errors.base import Fault, MurmurationError


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
