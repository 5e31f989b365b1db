"""A recording that has no transcript, and why."""

from dataclasses import dataclass
from http import HTTPStatus

from murmur.cli.recordings.inputs import Source
from murmur.client.errors import ApiError, JobEnded, MurmurError
from murmur.errors import CliError

# No answer, an upload that was cut off, a rate limit or a quota.
_PASSING = (0, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with one recording."""

    source: Source
    error: BaseException

    @property
    def passes(self) -> bool:
        """Whether another try may go well, later: the platform was away, busy or ill."""
        if isinstance(self.error, ApiError):
            return self.error.status in _PASSING or self.error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        failure = self.error.job.error if isinstance(self.error, JobEnded) else None
        return failure is not None and failure.retryable

    def __str__(self) -> str:
        # The sentence of an error that nobody foresaw says little without its kind.
        kind = "" if isinstance(self.error, MurmurError | CliError | OSError) else f"{type(self.error).__name__}: "
        return f"{self.source.name}: {kind}{self.error}"
