"""What a job's state doesn't allow."""

from typing import Self

from transcription.errors.base import MurmurationError


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

    @classmethod
    def of(cls, job_id: str) -> Self:
        """The error that a job by that id ends with."""
        return cls(f"the result of job {job_id!r} is kept no longer: its retention has ended; submit the audio again")


class ResultLost(WrongState):
    """The result was stored outside the ledger, and isn't there, or not as it was written."""

    code = "result_lost"


class DeadLetterNotFound(WrongState):
    """No such entry among the dead letters."""

    code = "dead_letter_not_found"


class WebhookSecretNotFound(WrongState):
    """No such webhook secret of this tenant."""

    code = "webhook_secret_not_found"


class NoWebhook(WrongState):
    """The job has no message that could be sent again."""

    code = "no_webhook"
