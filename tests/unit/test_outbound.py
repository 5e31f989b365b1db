"""Connections that clients cause: nothing of this machine's environment goes along."""

import http.server
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.free_port import free_port
from transcription.errors import UrlNotAllowed
from transcription.network.guard import client, opened
from transcription.network.lookups import Lookups

pytestmark = pytest.mark.anyio


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/elsewhere")
        else:
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as one, Server() as two:
        threads = [threading.Thread(target=server.serve_forever) for server in (one, two)]
        for thread in threads:
            thread.start()
        yield one, two
        for server, thread in zip((one, two), threads, strict=True):
            server.shutdown()
            thread.join()


async def ask(url: str, *, allow_private: bool = True) -> int:
    async with (
        client(silence_s=10) as http,
        opened(http, "GET", url, allow_private=allow_private, headers={"x-own": "1"}) as answer,
    ):
        return answer.status_code


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, proxy = servers
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert await ask(f"{target.url}/talk.mp3") == 200
    assert [path for path, _ in target.asked] == ["/talk.mp3"]
    assert proxy.asked == []
    (_, headers) = target.asked[0]
    assert "authorization" not in {name.lower() for name in headers}


async def test_redirects_are_not_followed(servers: tuple[Server, Server]) -> None:
    target, _ = servers
    assert await ask(f"{target.url}/moved") == 302
    assert [path for path, _ in target.asked] == ["/moved"]


@pytest.mark.parametrize(
    "url", ["http://user:secret@example.org/a", "ftp://example.org/a", "file:///etc/passwd", "//x"]
)
async def test_what_is_no_plain_web_address_is_refused_before_anything_connects(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        await ask(url)


async def test_own_networks_are_out_of_reach_unless_they_are_allowed(servers: tuple[Server, Server]) -> None:
    target, _ = servers
    with pytest.raises(UrlNotAllowed):
        await ask(f"{target.url}/a", allow_private=False)
    assert target.asked == []


async def test_host_whose_first_address_refuses_is_reached_by_its_second(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = servers
    refusing, port = "127.9.9.9", target.server_address[1]

    async def addresses(*_: object, **__: object) -> list[str]:
        return [refusing, "127.0.0.1"]

    monkeypatch.setattr(Lookups, "addresses", addresses)
    with socket.socket() as held:
        held.bind((refusing, port))  # nobody listens there, nor can another test's server
        assert await ask(f"http://two.example:{port}/talk.mp3") == 200
    assert target.asked[0][1]["Host"] == f"two.example:{port}"


async def test_certificate_is_asked_for_by_the_url_s_name_though_an_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def addresses(*_: object, **__: object) -> list[str]:
        return ["192.0.2.7"]

    monkeypatch.setattr(Lookups, "addresses", addresses)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        opened(http, "GET", "https://talks.example/a", allow_private=True, headers={}),
    ):
        pass
    (request,) = asked
    assert (request.url.host, request.headers["host"]) == ("192.0.2.7", "talks.example")
    assert request.extensions["sni_hostname"] == "talks.example"
