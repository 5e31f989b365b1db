"""What every request passes through: an id, a log line, figures, safe headers. Plain ASGI: bodies stay streams."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.access import client_address
from api.metrics.process import ApiMetrics
from api.problems import unexpected

_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_QUIET = ("/health", "/metrics")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"

_log = structlog.get_logger("api.request")


def _empty_fields() -> dict[str, None]:
    """Fields that every request's line has, and that this one's route had nothing to say of."""
    bound = structlog.contextvars.get_contextvars()
    return {name: None for name in ("audio_hash", "file_size_bytes", "error_message") if name not in bound}


class RequestId:
    """Gives every request an id: the client's own when it is a sane one, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _SANE_ID.fullmatch(sent) else uuid.uuid4().hex[:16]
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class SafeHeaders:
    """Adds the headers that keep a browser from taking an answer for something else, where the route set none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("content-security-policy", _CONTENT_POLICY)
            await send(message)

        await self._app(scope, receive, send_safely)


class RequestLog:
    """
    Writes one line for every request, counts it, and answers 500 for an error that nobody foresaw.

    The line has no query (it may hold a prompt) and nothing of the audio; what the route has bound to structlog's
    context (job, audio hash, error) is in it.
    """

    def __init__(self, app: ASGIApp, meters: ApiMetrics) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._meters.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, note)
            except Exception as error:
                if status:
                    raise
                await unexpected(scope["state"].get("request_id"), error)(scope, receive, note)
            finally:
                self._write(scope, status, time.perf_counter() - began)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 12 else "OTHER"
        self._meters.answered(method=method, route=route, status=status, seconds=seconds)
        quiet = scope["path"].startswith(_QUIET) and status < 500
        _log.log(
            10 if quiet else 30 if status >= 500 else 20,
            "request",
            method=method,
            path=scope["path"][:500],
            route=route,
            status=status,
            processing_time_ms=round(1000 * seconds, 1),
            **_empty_fields(),
            client_ip=client_address(scope) or None,
        )
