"""A recording's URL, at each hop: names that lead elsewhere at the next look-up, and spellings of an inside address."""

import asyncio
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.uploads.fetch import _followed
from tests import audio_files
from tests.free_port import free_port
from transcription.errors import MurmurationError
from transcription.network.guard import client

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
"""In these tests the first is public, and nothing else is."""


class Site:
    """A server outside, which redirects as it is told to, and one inside on the same port, which nobody may reach."""

    def __init__(self) -> None:
        self.port = free_port()
        self.location = ""
        self.asked: list[str] = []
        self.reached = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                moved = bool(site.location) and self.path != "/talk.wav"
                body = b"" if moved else audio_files.wav(0.1)
                self.send_response(302 if moved else 200)
                if moved:
                    self.send_header("location", site.location)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.outside = ThreadingHTTPServer((OUTSIDE, self.port), Handler)
        self._inside = socket.create_server((INSIDE, self.port))
        threading.Thread(target=self.outside.serve_forever, args=(0.02,), daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                self._inside.accept()[0].close()
                self.reached += 1

    def close(self) -> None:
        self.outside.shutdown()
        self.outside.server_close()
        self._inside.close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("transcription.network.guard.is_public", lambda address: address == OUTSIDE)
    running = Site()
    yield running
    running.close()


def ask(urls: Iterable[str]) -> list[str]:
    """Follow each; the codes of what was said, or «found»."""

    async def run() -> list[str]:
        codes = []
        async with client(silence_s=5) as http:
            for url in urls:
                try:
                    async with _followed(http, url, private=False, owner=""):
                        codes.append("found")
                except MurmurationError as error:
                    codes.append(error.code)
        return codes

    return asyncio.run(run())


Rows = list[tuple[object, ...]]


def resolving(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> None:
    """Let every name have the addresses that *answers* gives at this very look-up."""

    def look_up(host: str, port: int, **_: object) -> Rows:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers(host)]

    monkeypatch.setattr("transcription.network.lookups.socket.getaddrinfo", look_up)


@pytest.mark.parametrize("turns", list(itertools.product([OUTSIDE, INSIDE], repeat=4)))
def test_a_name_that_leads_elsewhere_at_each_look_up_is_asked_at_the_address_that_was_judged(
    site: Site, monkeypatch: pytest.MonkeyPatch, turns: tuple[str, ...]
) -> None:
    left = iter(turns)
    resolving(monkeypatch, lambda _: [next(left, INSIDE)])
    site.location = f"http://rebound.test:{site.port}/again"
    assert ask([f"http://rebound.test:{site.port}/"]) in (["url_not_allowed"], ["url_unreachable"])
    assert site.reached == 0
    assert len(site.asked) == next((n for n, turn in enumerate(turns) if turn == INSIDE), 4)


@pytest.mark.parametrize("addresses", [[OUTSIDE, INSIDE], [INSIDE, OUTSIDE], [INSIDE]])
def test_a_name_with_one_address_inside_is_not_asked_at_all(
    site: Site, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving(monkeypatch, lambda _: addresses)
    assert ask([f"http://mixed.test:{site.port}/talk.wav"]) == ["url_not_allowed"]
    assert (site.reached, site.asked) == (0, [])


FORMS = (
    "http://{inside}:{port}/", "HTTP://{inside}:{port}/", "//{inside}:{port}/", "http:{inside}:{port}/",
    "http:/{inside}:{port}/", "http:///{inside}:{port}/", "http://{outside}@{inside}:{port}/",
    "http://{outside}:{port}@{inside}:{port}/", "http://{inside}:{port}\\@{outside}/", "\\\\{inside}:{port}\\",
    "/\\{inside}:{port}/", "http://2130706434:{port}/", "http://0x7f000002:{port}/", "http://0177.0.0.2:{port}/",
    "http://127.2:{port}/", "http://127.0.2:{port}/", "http://[::ffff:127.0.0.2]:{port}/",
    "http://[::ffff:7f00:2]:{port}/", "http://127.0.0.2.:{port}/", "http://%31%32%37.0.0.2:{port}/",
    "http://127。0。0。2:{port}/", "http://１２７.0.0.2:{port}/",
    "http://[::1]:{port}/", "http://[::]:{port}/", "http://0:{port}/", "http://0.0.0.0:{port}/",
    "http://{inside}:{port}#@{outside}/", "http://{inside}:{port}?@{outside}/", "http://{inside}:{port};{outside}/",
    " http://{inside}:{port}/", "http://{inside}:{port}/\t", "ht\ttp://{inside}:{port}/", "http://{inside}%00:{port}/",
    "https://{inside}:{port}/", "ftp://{inside}:{port}/", "gopher://{inside}:{port}/", "file:///etc/passwd",
    "file://{inside}/etc/passwd", "data:audio/wav;base64,AAAA", "jar:http://{inside}:{port}!/", "unix:/var/run/x",
    "http+unix://%2Fvar%2Frun%2Fx/", "dict://{inside}:{port}/", "javascript:1",
)  # fmt: skip


def spelled(site: Site) -> list[str]:
    values = {"{inside}": INSIDE, "{outside}": OUTSIDE, "{port}": str(site.port)}
    return [re.sub(r"\{\w+\}", lambda found: values[found.group()], form) for form in FORMS]


def test_no_spelling_of_an_address_inside_is_connected_to(site: Site) -> None:
    assert set(ask(spelled(site))) <= {"url_not_allowed", "url_unreachable"}
    assert (site.reached, site.asked) == (0, [])


def redirecting(site: Site) -> Iterator[str]:
    """The server outside, once for each spelling that it can redirect to."""
    for location in spelled(site):
        if all(32 <= ord(sign) < 256 for sign in location):  # what can be said in a header
            site.location = location
            yield f"http://{OUTSIDE}:{site.port}/"


def test_no_spelling_of_an_address_inside_is_connected_to_after_a_redirect(site: Site) -> None:
    # A path that only looks like a host leads to the server itself, which redirects for ever.
    assert set(ask(redirecting(site))) <= {"url_not_allowed", "url_unreachable"}
    assert site.reached == 0
