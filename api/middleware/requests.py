"""What every request passes through: an id, a log line, figures, safe headers. Plain ASGI: bodies stay streams."""

import logging
import re
import time
from collections.abc import Collection
from contextvars import ContextVar
from random import getrandbits, random

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.access import client_address
from api.metrics.process import ApiMetrics
from api.problems import unexpected
from transcription.ledger.connections.fail_fast import one_patience

_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_SLASHES = re.compile(r"/{2,}")
_QUIET = ("/health", "/metrics")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_LOOKS, _AS_EXPECTED = ("GET", "HEAD"), (200, 304)
_POLLED = ("/jobs/{job_id}", "/status/{job_id}")
"""How the routes end under which somebody asks again and again how a job is, in every dialect."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_NAMES = frozenset(name for name, _ in _HEADERS)
_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

_before: ContextVar[bool] = ContextVar("whether a request before this one has bound fields", default=False)
_log = structlog.get_logger("api.request")
_level = logging.getLogger("api.request")


def _empty_fields() -> dict[str, None]:
    """Fields that every request's line has, and that this one's route had nothing to say of."""
    bound = structlog.contextvars.get_contextvars()
    return {name: None for name in ("audio_hash", "file_size_bytes", "error_message") if name not in bound}


class HeadAnswered(OSError):
    """The answer to a HEAD is out, and whoever goes on writing its body is told to stop, as if the client had left."""


class RequestMiddleware:
    """
    Gives every request an id and safe headers, counts it, logs it, and answers 500 for an error that nobody foresaw.

    The id is the client's own when it is a sane one, else a new one. The headers keep a browser from taking an answer
    for something else, where the route set none. The line in the log has no query (it may hold a prompt) and nothing
    of the audio; what the route has bound to structlog's context (job, audio hash, error) is in it. All of it is one
    layer, because every layer costs every poll.
    """

    def __init__(self, app: ASGIApp, meters: ApiMetrics, poll_log_share: float = 1.0) -> None:
        self._app = app
        self._meters = meters
        self._poll_log_share = poll_log_share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        if _before.get():  # requests that came in one packet share a context; to look for its fields costs time
            structlog.contextvars.clear_contextvars()
        _before.set(True)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        status, method = 0, scope["method"]
        _tidy(scope)
        if method == "HEAD":
            # Routes know GET alone. The server keeps what it gave: by it, it knows that no body is to come.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
            scope["state"]["head"] = True

        async def finish(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                warnings = scope["state"].get("warnings", "") if status < 300 else ""
                message["headers"] = _completed(message["headers"], request_id.encode(), warnings.encode())
            await send(message)

        in_flight = self._meters.in_flight
        in_flight.inc()
        try:
            with one_patience():
                await self._app(scope, receive, finish)
        except HeadAnswered:
            pass
        except Exception as error:
            if status and method == "HEAD":
                return
            if status:
                raise
            await unexpected(request_id, error)(scope, receive, finish)
        finally:
            in_flight.dec()
            self._write(scope, method, status, time.perf_counter() - began)

    def _write(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        method = method if method in _METHODS else "OTHER"
        self._meters.answered(method=method, route=route, status=status, seconds=seconds)
        level = 30 if status >= 500 else 10 if scope["path"].startswith(_QUIET) else 20
        if level < 30 and not self._worth_a_line(level, method, route, status):
            return
        _log.log(
            level,
            "request",
            method=method,
            path=scope["path"][:500],
            route=route,
            status=status,
            processing_time_ms=round(1000 * seconds, 1),
            **_empty_fields(),
            client_ip=client_address(scope) or None,
        )

    def _worth_a_line(self, level: int, method: str, route: str, status: int) -> bool:
        """Whether the line would be kept, and isn't one of the thousands that say that somebody has asked again."""
        if status in _AS_EXPECTED and method in _LOOKS and route.endswith(_POLLED):
            return random() < self._poll_log_share
        return level > 10 or _level.isEnabledFor(level)


def _tidy(scope: Scope) -> None:
    """Take a slash too many out of the path: clients put their own after the base's, or one at the end."""
    path = scope["path"]
    if "//" not in path and (not path.endswith("/") or path.startswith("/web") or len(path) < 2):
        return
    tidy = _SLASHES.sub("/", path)
    scope["path"] = tidy if tidy.startswith("/web") else tidy.rstrip("/") or "/"
    if "raw_path" in scope:
        raw = re.sub(rb"/{2,}", b"/", scope["raw_path"])
        scope["raw_path"] = raw if tidy.startswith("/web") else raw.rstrip(b"/") or b"/"


def _without_body(send: Send) -> Send:
    """Answer HEAD as GET is answered, without the body; an answer that is long, or never ends, is broken off."""
    answered = False

    async def send_head(message: Message) -> None:
        nonlocal answered
        if message["type"] == "http.response.start":
            await send(message)
        elif not answered:
            answered = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if message["type"] == "http.response.body" and message.get("more_body"):
            raise HeadAnswered

    return send_head


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value.decode("latin-1")):
            return str(value, "latin-1")
    return f"{getrandbits(64):016x}"  # a name that nobody else has; nothing hangs on its being guessed


def _completed(
    headers: Collection[tuple[bytes, bytes]], request_id: bytes, warnings: bytes
) -> list[tuple[bytes, bytes]]:
    """*headers* with the request's id, what an answered transcript lacks, and the safe ones that no route has set."""
    known = dict(headers)
    completed = [*headers]
    if b"x-request-id" in known:
        completed = [pair for pair in headers if pair[0] != b"x-request-id"]
    completed.append((b"x-request-id", request_id))
    if warnings:
        completed.append((b"murmur-warnings", warnings))
    if known.keys() & _NAMES:
        completed += [pair for pair in _HEADERS if pair[0] not in known]
    else:
        completed += _HEADERS
    if b"content-security-policy" not in known and not known.get(b"content-type", b"").startswith(b"text/html"):
        completed.append(_CONTENT_POLICY)
    return completed
