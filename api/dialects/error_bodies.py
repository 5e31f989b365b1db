"""Errors in another API's shape: the same words as everywhere, another body, and its own status where it names one."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems

Shape = Callable[[Mapping[str, Any], dict[str, Any], MutableHeaders], tuple[int, dict[str, Any]] | None]
"""Takes the request's state, the problem and its headers (to change); gives status and body, None: as it is.

A body that has all of the problem stays one, with further members."""


class ErrorBodyMiddleware:
    """
    Gives the problems of some paths another shape, whoever made them: a route, the access middleware, or the framework.

    ``shapes``: by a pattern of the whole path; the first that matches counts.
    """

    def __init__(self, app: ASGIApp, shapes: Mapping[str, Shape]) -> None:
        self._app = app
        self._shapes = [(re.compile(pattern, re.DOTALL), shape) for pattern, shape in shapes.items()]
        self._any = re.compile("|".join(f"(?:{pattern})" for pattern in shapes), re.DOTALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        shape = self._shape(scope["path"]) if scope["type"] == "http" else None
        if shape is None:
            await self._app(scope, receive, send)
            return
        begun, held, body = False, None, bytearray()

        async def reshape(message: Message) -> None:
            nonlocal begun, held
            if message["type"] == "http.response.start":
                begun = True
                if Headers(raw=message["headers"]).get("content-type") == problems.MEDIA_TYPE:
                    held = message
                    return
            elif held is not None:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await _reshaped(scope, held, bytes(body), shape)(scope, receive, send)
                return
            await send(message)

        try:
            await self._app(scope, receive, reshape)
        except Exception as error:
            if begun:
                raise
            await problems.unexpected(scope["state"].get("request_id"), error)(scope, receive, reshape)

    def _shape(self, path: str) -> Shape | None:
        if not self._any.fullmatch(path):
            return None
        return next((shape for pattern, shape in self._shapes if pattern.fullmatch(path)), None)


def _reshaped(scope: Scope, start: Message, body: bytes, shape: Shape) -> Response:
    headers = MutableHeaders(raw=list(start["headers"]))
    problem = orjson.loads(body)
    other = shape(scope.get("state", {}), problem, headers)
    status, media_type = start["status"], problems.MEDIA_TYPE
    if other is not None:
        status, body = other[0], orjson.dumps(other[1])
        media_type = media_type if problem.items() <= other[1].items() else "application/json"
    for name in ("content-length", "content-type"):
        del headers[name]
    return Response(body, status, headers=dict(headers), media_type=media_type)
