"""The server's stop, without a socket: who is connected and hasn't asked yet is waited for, and not for ever."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from api import server

pytestmark = pytest.mark.anyio


class Site:
    """A server with one connection that brings no request yet; ``ended`` says what the connection was at the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection: Any = SimpleNamespace(cycle=None)
        self.ended: list[Any] = []
        self.written: list[int] = []
        self.server = server.Server(uvicorn.Config(lambda: None, log_config=None))
        self.server.servers = []
        self.server.server_state.connections = frozenset((Connection(self.connection),))  # type: ignore[assignment]

        async def shutdown(_server: uvicorn.Server, sockets: Any = None) -> None:
            assert sockets == []
            self.ended.append(self.connection.cycle)

        monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
        monkeypatch.setattr("api.server.logs.write_directly", lambda: self.written.append(1))
        monkeypatch.setattr(server, "SETTLE_S", 0.0)
        monkeypatch.setattr(server, "HANDSHAKE_S", 0.0)


class Connection:
    """A connection as uvicorn's protocols are one."""

    def __init__(self, told: Any) -> None:
        self._told = told

    @property
    def cycle(self) -> Any:
        return self._told.cycle


async def test_who_is_connected_and_has_not_asked_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_BYTES_S", 30.0)
    site = Site(monkeypatch)
    stopping = asyncio.create_task(site.server.shutdown([]))
    for _ in range(20):
        await asyncio.sleep(0)  # fine: the other task's turn, no time
    assert site.ended == []
    site.connection.cycle = "the first request"
    await asyncio.wait_for(stopping, 30)
    assert site.ended == ["the first request"]
    assert site.written == [1]


async def test_a_connection_that_stays_silent_holds_the_stop_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_BYTES_S", 0.05)
    site = Site(monkeypatch)
    await asyncio.wait_for(site.server.shutdown([]), 10)
    assert site.ended == [None]
