"""The one place where errors become HTTP: RFC 9457 problems."""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from transcription import errors
from transcription.errors import MurmurationError, Unavailable

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[MurmurationError], int] = {
    errors.MalformedRequest: 400,
    errors.MissingFile: 400,
    errors.TooManyFiles: 400,
    errors.EmptyFile: 400,
    errors.BadBase64: 400,
    errors.UploadIncomplete: 408,
    errors.UnknownOption: 422,
    errors.InvalidOption: 422,
    errors.InvalidReference: 422,
    errors.ReferenceWithoutSpeech: 422,
    errors.ModelNotServed: 422,
    errors.IdempotencyConflict: 422,
    errors.UrlNotAllowed: 422,
    errors.UrlUnreachable: 422,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.NoAudioStream: 422,
    errors.NoSamples: 422,
    errors.TooLong: 422,
    errors.IndexMissing: 422,
    errors.CorruptAudio: 422,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.JobNotFound: 404,
    errors.ResultNotReady: 409,
    errors.JobFailed: 409,
    errors.JobCanceled: 409,
    errors.JobFinished: 409,
    errors.JobExpired: 410,
    errors.ResultLost: 500,
    errors.DeadLetterNotFound: 404,
    errors.WebhookSecretNotFound: 404,
    errors.NoWebhook: 409,
    errors.LedgerUnavailable: 503,
    errors.OutcomeUnknown: 503,
    errors.LedgerTooNew: 503,
    errors.LedgerFault: 500,
    errors.LedgerFull: 503,
    errors.MemoryPressure: 503,
    errors.DiskFull: 503,
    errors.StorageUnavailable: 503,
    errors.QueueFull: 503,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.WorkerLost: 500,
    errors.DecoderFailed: 503,
    errors.EngineFailed: 500,
    errors.ModelUnavailable: 503,
    errors.BlobMissing: 500,
    errors.BlobDamaged: 500,
    errors.DeadlineExceeded: 504,
    errors.ScratchFailed: 500,
    errors.ResultIncomplete: 500,
    errors.NameTaken: 500,
    errors.LeaseLost: 500,
    errors.Stopped: 500,
}

# What isn't ours: errors of the framework, by status.
_FRAMEWORK_CODES = {400: "malformed_request", 404: "route_not_found", 405: "method_not_allowed"}

# What any route may answer: who calls, how often, and an error that nobody foresaw.
ANYWHERE = frozenset({401, 403, 429, 500})

# Of one request that are told: a body can have thousands.
_MOST_FAULTS = 10

_log = structlog.get_logger("api.problems")


class Problem(BaseModel):
    """An error as RFC 9457 has it, with a stable code for programs."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A URI that names the kind of error.", examples=["urn:murmur:error:missing_file"])
    title: str = Field(description="The kind of error in words.", examples=["No audio came with the request."])
    status: int = Field(description="The HTTP status.", examples=[400])
    detail: str = Field(description="What happened this time.", examples=["no field 'file'; got 'audio'"])
    code: str = Field(description="The kind of error for programs.", examples=["missing_file"])
    request_id: str | None = Field(description="What to tell an operator.", examples=["0b5ee7b0c1a94a9e"])


class WithMembers(Exception):
    """An error of the tree with further members for its problem, as the job's status."""

    def __init__(self, error: MurmurationError, /, **members: Any) -> None:
        super().__init__(error.message)
        self.error = error
        self.members = members


def install(app: FastAPI) -> None:
    """Make *app* answer every error with a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def answer(request: Request, error: Exception) -> Response:
    """Any error as its problem, for those who answer before any route does."""
    for kind, handler in _HANDLERS.items():
        if isinstance(error, kind):
            return await handler(request, error)
    return unexpected(_request_id(request), error)


def unexpected(request_id: str | None, error: BaseException) -> Response:
    """What a client sees of an error that nobody foresaw: nothing but a number for the operator."""
    _log.error("unexpected error", exc_info=error)
    detail = f"an error that nobody foresaw; the log has it under request_id {request_id}"
    return problem(500, code="internal_error", title="Internal error.", detail=detail, request_id=request_id)


def problem(
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    request_id: str | None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """One problem as a response."""
    shape = {
        "type": f"urn:murmur:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **(members or {}),
    }
    return Response(orjson.dumps(shape, default=str), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def status_of(error: MurmurationError) -> int:
    """The status that *error* is answered with."""
    return STATUSES.get(type(error), 500)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": _phrase(code), "content": content} for code in sorted({*statuses, *ANYWHERE})}


def _request_id(request: Request) -> str | None:
    state: dict[str, Any] = request.scope.get("state", {})
    return state.get("request_id")


def _answer(request: Request, error: MurmurationError, members: Mapping[str, Any] | None = None) -> Response:
    further = dict(members or {})
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.Unauthorized) else {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    elif error.retryable:
        headers["Retry-After"] = str(further.pop("retry_after_s", 1))
    if isinstance(error, errors.OutcomeUnknown):
        headers["Location"] = f"{request.scope.get('root_path', '')}/v1/jobs/{error.job_id}"
        further["job_id"] = error.job_id
    structlog.contextvars.bind_contextvars(error=error.code, error_message=error.message)
    return problem(
        STATUSES.get(type(error), 500),
        code=error.code,
        title=_title(type(error)),
        detail=error.message,
        request_id=_request_id(request),
        headers=headers,
        members=further,
    )


async def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, MurmurationError)  # noqa: S101 -- what it is installed for
    return _answer(request, error)


async def _with_members(request: Request, error: Exception) -> Response:
    assert isinstance(error, WithMembers)  # noqa: S101 -- what it is installed for
    return _answer(request, error.error, error.members)


async def _validation(request: Request, error: Exception) -> Response:
    """A parameter of the path, the query or a header that isn't what the route takes."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- what it is installed for
    message = "; ".join(
        f"{_json_pointer(fault['loc'])[:100]}: {fault['msg']} (got {str(fault.get('input'))[:60]!r})"
        for fault in error.errors()[:_MOST_FAULTS]
    )
    return _answer(request, errors.InvalidOption(message))


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- what it is installed for
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _answer(request, errors.TooLarge(error.detail))
    phrase = _phrase(error.status_code)
    code = _FRAMEWORK_CODES.get(error.status_code, re.sub(r"\W+", "_", phrase.lower()))
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
    if error.status_code == HTTPStatus.NOT_FOUND and "route" not in request.scope:
        detail += _meant(request)
    structlog.contextvars.bind_contextvars(error=code)
    return problem(
        error.status_code,
        code=code,
        title=f"{phrase}.",
        detail=detail,
        request_id=_request_id(request),
        headers=_allow(request, error) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers,
    )


def _allow(request: Request, error: HTTPException) -> Mapping[str, str] | None:
    """Every method of the path; the framework names only those of the first route that has it."""
    methods = _documented(request).get(getattr(request.scope.get("route"), "path_format", ""))
    return {"Allow": ", ".join(sorted(methods))} if methods else error.headers


def _documented(request: Request) -> dict[str, set[str]]:
    """The methods of each path that the OpenAPI document has; to make that takes half a second."""
    found: dict[str, set[str]] = {}
    for route in request.app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            found.setdefault(route.path_format, set()).update(route.methods or ())
    return found


def _json_pointer(location: tuple[Any, ...] | list[Any]) -> str:
    """`("query", "limit")` is `limit` to a client."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _meant(request: Request) -> str:
    """Which path was meant, where one is near: the same last word, or nearly the same letters."""
    asked = request.url.path.rstrip("/")[:200]
    paths = list(_documented(request))
    last = asked.rpartition("/")[2]
    alike = [path for path in paths if path.rpartition("/")[2] == last]
    near = difflib.get_close_matches(asked, paths, n=1, cutoff=0.8) or difflib.get_close_matches(
        asked, alike or paths, n=1, cutoff=0.0 if alike else 0.6
    )
    return f"; did you mean {near[0]}?" if near else ""


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    MurmurationError: _domain,
    WithMembers: _with_members,
    RequestValidationError: _validation,
    HTTPException: _framework,
}


def _title(kind: type[MurmurationError]) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
