"""Errors in another API's shape: the same statuses and words as everywhere, another body."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import problems

Shape = Callable[[Request, dict[str, Any]], tuple[int, dict[str, Any]] | None]


def shaped(shape: Shape, **headers: str) -> type[APIRoute]:
    """
    A route class whose errors have the body that *shape* makes of a problem.

    Args:
        shape: Takes the problem as it would go out; gives status and body, or None to leave it as it is.
        headers: Values that replace a header which the problem has: `retry_after="30"`.
    """
    fixed = {name.replace("_", "-"): value for name, value in headers.items()}

    class ShapedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_shaped(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:  # noqa: BLE001  whatever it is, the client gets its own kind of body
                    return _reshaped(request, await problems.answer(request, error), shape, fixed)

            return handle_shaped

    return ShapedRoute


def _reshaped(request: Request, answer: Response, shape: Shape, fixed: dict[str, str]) -> Response:
    for name, value in fixed.items():
        if name in answer.headers:
            answer.headers[name] = value
    other = shape(request, orjson.loads(bytes(answer.body)))
    if other is None:
        return answer
    status, body = other
    kept = {name: value for name, value in answer.headers.items() if name not in {"content-length", "content-type"}}
    return Response(orjson.dumps(body), status, headers=kept, media_type="application/json")


def problem(_request: Request, _problem: dict[str, Any]) -> None:
    """Leave problems as they are; for routes that fix headers only."""
