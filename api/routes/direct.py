"""
The two requests that come by the thousand, answered without the framework's routing.

Finding a route, solving its dependencies and making a response cost several times what a look at a job costs. So a
job's plain look-up is recognised here, behind everything that every request passes, and the liveness check behind what
concerns it: its id, figures and log, and the host that it was sent to. Their routes stay what documents them, and what
serves every other form of the same request (`wait`, an unusual path): the answers are the same, by the same functions.
"""

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.dependencies import Platform
from api.jobs.answers import Headers, matches
from api.platform_schemas import AliveOut
from transcription.access import Principal
from transcription.errors import MurmurationError

LOOK_UP, LIVE = "/v1/jobs/{job_id}", "/health/live"

_JOBS = "/v1/jobs/"
_ID_LENGTH = 32
_ALIVE = AliveOut().model_dump_json().encode()
_ALIVE_HEADERS: Headers = [(b"content-length", str(len(_ALIVE)).encode()), (b"content-type", b"application/json")]


class _Served:
    """What the log and the figures call a request that no route has seen: its path's template."""

    def __init__(self, path: str) -> None:
        self.path = path


_LOOK_UP, _LIVE = _Served(LOOK_UP), _Served(LIVE)


class Liveness:
    """Answers the liveness check, before anybody asks who it is: it is open to all, and looks at nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] == LIVE and scope["method"] == "GET" and not scope["query_string"]:
            scope["route"] = _LIVE
            await _send(send, 200, _ALIVE_HEADERS, _ALIVE)
            return
        await self._app(scope, receive, send)


class DirectAnswers:
    """Answers a job's look-up without a query; everything else goes on to the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            path = scope["path"]
            if path.startswith(_JOBS):
                job_id = path[len(_JOBS) :]
                # Every id that was ever given out; what else there may be, the route judges.
                if len(job_id) == _ID_LENGTH and job_id.isascii() and job_id.isalnum():
                    scope["route"] = _LOOK_UP
                    await _look_up(scope, receive, send, job_id)
                    return
        await self._app(scope, receive, send)


async def _look_up(scope: Scope, receive: Receive, send: Send, job_id: str) -> None:
    platform: Platform = scope["app"].state.platform
    state: dict[str, Any] = scope.get("state", {})
    client: Principal = state.get("client") or Principal()
    try:
        job = await platform.jobs.get(job_id, tenant=client.tenant)
    except MurmurationError as error:
        await (await problems.answer(Request(scope), error))(scope, receive, send)
        return
    answer = platform.answers.of(job, root=str(scope.get("root_path", "")))
    if matches(_if_none_match(scope), answer.tag):
        await _send(send, 304, answer.unchanged, b"")
    else:
        await _send(send, 200, answer.headers, answer.body)


def _if_none_match(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            return str(value, "latin-1")
    return None


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    # A list of its own: whoever sends it on may add to it.
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})
