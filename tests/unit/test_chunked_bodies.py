"""Chunked bodies in the server's protocol, without a socket: all of their bytes arrive, and tiny ones have an end."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from api import server

pytestmark = pytest.mark.anyio

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """The other end: what was sent to it, and whether it was hung up on."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Site:
    """One connection, the bodies that came on it, and a clock."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.wire = Wire()
        config = uvicorn.Config(self._app, log_config=None, lifespan="off", interface="asgi3")
        config.load()
        self.protocol = server.Protocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.wire)

    async def _app(self, _scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def came(self, *reads: bytes) -> None:
        """Let these bytes come, a read each."""
        for data in reads:
            self.protocol.data_received(data)
            await asyncio.sleep(0)  # fine: the app's turn, no time

    async def answered(self, count: int) -> None:
        for _ in range(100):
            if len(self.bodies) < count:
                await asyncio.sleep(0)  # fine: the app's turn, no time


def chunks(*pieces: bytes, end: bool = True) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + (b"0\r\n\r\n" if end else b"")


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(server, "CHUNKS_AT_ONCE", 10)
    made = Site()
    yield made
    made.protocol.connection_lost(None)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_all_bytes_of_a_body_arrive_in_their_order_however_it_is_cut(site: Site, size: int) -> None:
    pieces = [bytes([number]) * 500 for number in range(9)]
    wire = HEAD + chunks(*pieces)
    await site.came(*(wire[at : at + size] for at in range(0, len(wire), size)))
    await site.answered(1)
    assert site.bodies == [b"".join(pieces)]
    assert site.wire.sent.startswith(b"HTTP/1.1 204")
    assert not site.wire.closed


async def test_tiny_chunks_are_broken_off_with_a_reason(site: Site) -> None:
    await site.came(HEAD + chunks(*[b"x"] * 12, end=False))
    assert site.wire.closed
    head, _, body = site.wire.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    assert (orjson.loads(body)["code"], orjson.loads(body)["status"]) == ("malformed_request", 400)


async def test_many_chunks_of_a_usual_length_are_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: 100.0))  # as fast as can be
    await site.came(HEAD, *(chunks(bytes(64), end=False) for _ in range(100)), chunks())
    await site.answered(1)
    assert [len(body) for body in site.bodies] == [6400]
    assert not site.wire.closed


async def test_tiny_chunks_that_come_slowly_are_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    await site.came(HEAD)
    for _ in range(40):
        await site.came(chunks(b"x", end=False))
        clock[0] += 1 / server.CHUNKS_A_SECOND
    await site.came(chunks())
    await site.answered(1)
    assert site.bodies == [b"x" * 40]
    assert not site.wire.closed


async def test_each_request_of_a_connection_has_chunks_of_its_own(site: Site) -> None:
    for number in range(1, 5):
        await site.came(HEAD + chunks(*[b"x"] * 8))
        await site.answered(number)
    assert site.bodies == [b"x" * 8] * 4
    assert not site.wire.closed


async def test_of_requests_that_come_in_one_read_each_has_its_own_body(site: Site) -> None:
    await site.came(HEAD + chunks(b"one", b"two") + HEAD + chunks(b"three"))
    await site.answered(2)
    assert site.bodies == [b"onetwo", b"three"]
