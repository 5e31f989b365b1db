"""Whatever a client calls a URL: it is refused in our own words, or asked for; nothing else comes of it."""

import asyncio
import random
import socket
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged
from transcription.errors import UrlNotAllowed, UrlUnreachable
from transcription.network.guard import opened

GOOD = (
    b"http://example.com/a.wav", b"https://example.com:8443/a/b?c=d#e", b"http://xn--bcher-kva.example/",
    b"http://[2606:4700::1111]:80/", b"http://1.1.1.1:65535/", b"https://user@example.com/",
)  # fmt: skip
PORTS = [0, 1, 80, 65_535, 65_536, 99_999, 1 << 31, 1 << 64]


async def _ask(url: str) -> int:
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with httpx.AsyncClient(transport=transport) as http:
        try:
            async with opened(http, "GET", url, allow_private=False, headers={}) as answer:
                return answer.status_code
        except (UrlNotAllowed, UrlUnreachable):
            return 422


@pytest.fixture(scope="module", autouse=True)
def _names() -> object:
    """Names that can be looked up lead outside; the rest is as the real function has it."""
    real: Callable[..., object] = socket.getaddrinfo

    def resolve(host: str, port: int, *args: object, **how: object) -> object:
        host.encode("idna")
        if not 0 <= port <= 65_535:
            raise OverflowError("getaddrinfo: port must be 0-65535")
        return [(2, 1, 6, "", ("1.1.1.1", port))]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("transcription.network.lookups.socket.getaddrinfo", resolve)
        yield
    assert socket.getaddrinfo is real


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from(["http://", "https://", "", "http:", "//"]), st.sampled_from(PORTS))
def test_no_text_in_the_place_of_a_url_is_an_error_of_ours(text: str, scheme: str, port: int) -> None:
    for url in (scheme + text, f"http://{text}:{port}/", f"http://example.com:{port}/{text}"):
        assert asyncio.run(_ask(url)) in {200, 422}


def test_no_damaged_url_is_an_error_of_ours() -> None:
    answered = set()
    for number in range(400):
        generator = random.Random(number)
        answered.add(asyncio.run(_ask(damaged(generator, generator.choice(GOOD)).decode("latin-1"))))
    assert answered == {200, 422}
