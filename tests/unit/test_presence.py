"""Who hangs up is held no longer, and what was waited for ends with it."""

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.presence import CLIENT_GONE, while_connected

pytestmark = pytest.mark.anyio


def request(*messages: str) -> Request:
    """One whose client sends *messages*, then nothing."""
    sent = iter(messages)

    async def receive() -> Any:
        kind = next(sent, None)
        if kind is None:
            await asyncio.Event().wait()
        return {"type": kind}

    return Request({"type": "http"}, receive)


async def test_what_nobody_waits_for_any_more_ends_and_is_no_fault_of_the_server() -> None:
    ended = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(HTTPException) as gone:
        await asyncio.wait_for(while_connected(request("http.request", "http.disconnect"), waiting()), 10)
    assert gone.value.status_code == CLIENT_GONE
    assert ended.is_set()


async def test_who_is_there_is_given_what_came() -> None:
    async def waiting() -> str:
        await asyncio.sleep(0)
        return "found"

    assert await asyncio.wait_for(while_connected(request("http.request"), waiting()), 10) == "found"
