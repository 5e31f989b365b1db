"""
What can go wrong between a client and its platform.

    MurmurError
    ├── ApiError                the platform refused; `code` is stable and for programs
    │   ├── BadRequest          400, 408, 413, 415, 422: the recording or an option
    │   ├── Unauthorized        401
    │   ├── Forbidden           403
    │   ├── NotFound            404, 410
    │   ├── Conflict            409: not in this state of the job
    │   ├── TooManyRequests     429
    │   ├── Unavailable         5xx
    │   └── Unreachable         no answer at all; `status` is 0
    └── JobEnded                a job that was waited for has no transcript
        ├── JobFailed
        ├── JobCanceled
        └── JobExpired
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from murmur.client.responses import RemoteJob


class MurmurError(Exception):
    """Every error of the client."""


class ApiError(MurmurError):
    """
    The platform refused, or couldn't be reached.

    ``code`` is stable and meant for programs; ``status`` is HTTP's, 0 when there was no answer; ``retry_after`` is
    the number of seconds after which another try makes sense, None when the platform named none. ``job_id`` is set
    where it isn't known whether a job was accepted (``outcome_unknown``): if it exists, it has this id.
    """

    def __init__(
        self, code: str, message: str, status: int, retry_after: float | None = None, job_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.job_id = job_id


class BadRequest(ApiError):
    """The recording or an option isn't what the platform takes."""


class Unauthorized(ApiError):
    """The platform wants an API key, or another one."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """There is no such job, or it isn't kept any more."""


class Conflict(ApiError):
    """Not while the job is in this state."""


class TooManyRequests(ApiError):
    """A rate limit or a quota; `retry_after` says when it makes sense again."""


class Unavailable(ApiError):
    """The platform can't do it now."""


class Unreachable(ApiError):
    """No answer came."""


class JobEnded(MurmurError):
    """A job that was waited for ended without a transcript."""

    def __init__(self, job: RemoteJob) -> None:
        because = f": {job.error.message} ({job.error.code})" if job.error else ""
        super().__init__(f"job {job.id} {job.status.value}{because}")
        self.job = job


class JobFailed(JobEnded):
    """The job failed; ``job.error`` says why."""


class JobCanceled(JobEnded):
    """Somebody gave the job up."""


class JobExpired(JobEnded):
    """The transcript's retention has ended."""


_KINDS: dict[int, type[ApiError]] = {
    **dict.fromkeys((400, 408, 413, 415, 422), BadRequest),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: TooManyRequests,
}
_ENDS: dict[str, type[JobEnded]] = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}


def ended(job: RemoteJob) -> JobEnded:
    """The error of a *job* that has ended without a transcript."""
    return _ENDS.get(job.status, JobEnded)(job)


def refusal(response: httpx.Response) -> ApiError:
    """An answer that is no success, as an error; its body has been read."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    if isinstance(problem.get("error"), dict):  # OpenAI's shape, on its routes
        problem = {**problem["error"], "detail": problem["error"].get("message")}
    named = response.headers.get("retry-after", "")
    status = response.status_code
    unknown = problem.get("code") == "outcome_unknown"
    return _KINDS.get(status, Unavailable if status >= 500 else ApiError)(
        str(problem.get("code") or f"http_{status}"),
        str(problem.get("detail") or problem.get("title") or response.reason_phrase),
        status,
        float(named) if named.replace(".", "", 1).isdigit() else None,
        str(problem["job_id"]) if unknown and problem.get("job_id") else None,
    )


def unexpected(url: str, response: httpx.Response, error: Exception) -> ApiError:
    """A success that isn't one of a platform's: a login page in between, another server, another version."""
    kind = response.headers.get("content-type", "no content type")
    said = f"the answer from {url} isn't a platform's ({kind}): {str(error).partition(chr(10))[0]}"
    return ApiError("unexpected_answer", said, response.status_code)


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    """No answer from *url*."""
    return Unreachable("unreachable", f"no answer from {url}: {str(error) or type(error).__name__}", 0)
