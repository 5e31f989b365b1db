"""Waiting for as long as the client is there: who hangs up is held no longer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

CLIENT_GONE = 499

Found = TypeVar("Found")


async def while_connected(request: Request, waiting: Coroutine[Any, Any, Found]) -> Found:
    """What *waiting* gives. HTTPException: the client has gone; *waiting* was cancelled."""
    found = asyncio.create_task(waiting)
    gone = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((found, gone), return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            raise HTTPException(CLIENT_GONE, "the client disconnected; its job continues")
        return found.result()
    finally:
        for task in (found, gone):
            task.cancel()
        await asyncio.gather(found, gone, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
