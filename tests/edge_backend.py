"""A stand-in for an API replica behind nginx: it says what it got, and can die on demand. Run by the API's server."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from api.server import Server

PROBLEM = b'{"code":"too_large","detail":"said by the replica"}'

_state = {"bytes": 0, "hidden": 0, "posts": 0, "waiting": 0}


async def _echo(request: Request) -> Response:
    """Who answers, and the headers that arrived."""
    return JSONResponse({"replica": os.environ["REPLICA"], "headers": dict(request.headers)})


async def _take(request: Request) -> Response:
    """Read a body as it comes; `/state` tells another client how far it has got."""
    _state["posts"] += 1
    _state["hidden"] += "hidden" in request.query_params
    _state["bytes"] = 0
    try:
        async for chunk in request.stream():
            _state["bytes"] += len(chunk)
    except ClientDisconnect:
        return Response(status_code=400)
    return JSONResponse({"replica": os.environ["REPLICA"], "bytes": _state["bytes"]})


async def _tell(_: Request) -> Response:
    return JSONResponse(_state)


async def _die(request: Request) -> Response:
    """Die in the middle of a request, once its body has been read."""
    await request.body()
    os._exit(1)


async def _refuse(_: Request) -> Response:
    """Say no before the body is read, as the API does under pressure."""
    return Response(PROBLEM, 413, media_type="application/problem+json")


async def _wait(request: Request) -> Response:
    _state["waiting"] += 1
    await asyncio.sleep(float(request.query_params["s"]))
    _state["waiting"] -= 1
    return JSONResponse({"replica": os.environ["REPLICA"]})


async def _found(request: Request) -> Response:
    """Answer with the status that a job's name says."""
    return Response(status_code=int(request.path_params["status"]))


async def _events(_: Request) -> Response:
    async def stream() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number} {'x' * 2000}\n\n"
            await asyncio.sleep(0.4)  # fine: so far apart are the events

    return StreamingResponse(stream(), media_type="text/event-stream")


async def _large(_: Request) -> Response:
    return Response(orjson.dumps({"text": "the same words again " * 2000}), media_type="application/json")


app = Starlette(
    routes=[
        Route("/v1/jobs", _take, methods=["POST"]),
        Route("/state", _tell),
        Route("/die", _die, methods=["GET", "POST"]),
        Route("/refuse", _refuse, methods=["POST"]),
        Route("/wait", _wait),
        Route("/events", _events),
        Route("/large", _large),
        Route("/v1/jobs/{status:int}", _found),
        Route("/{path:path}", _echo, methods=["GET", "POST"]),
    ]
)

if __name__ == "__main__":
    config = uvicorn.Config(
        app, host=sys.argv[1], port=int(sys.argv[2]), log_level="warning", timeout_graceful_shutdown=20
    )
    Server(config).run(sockets=[config.bind_socket()])
