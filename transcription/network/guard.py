"""
URLs that clients name, and the addresses that they may lead to.

A URL is resolved once, every address is checked, and the connection goes to one of those very addresses: a name that
resolves to something else a moment later changes nothing. `Host` and the certificate's name stay the URL's own.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache

import httpx

from transcription.errors import UrlNotAllowed, UrlUnreachable
from transcription.network.addresses import is_public
from transcription.network.lookups import lookups, no_address

CONNECT_S = 5.0
_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Target:
    """A URL whose host is an address, and what the server must hear instead of it."""

    url: httpx.URL
    host: str
    name: str


def parsed(url: str) -> httpx.URL:
    """*url*, if it is one that may be asked for at all. UrlNotAllowed."""
    try:
        found = httpx.URL(url)
        host = found.host  # decodes what is punycode
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise UrlNotAllowed(f"{_describe(url)} is no URL: {error}") from error
    if found.scheme not in {"http", "https"} or not host:
        raise UrlNotAllowed(f"{_describe(url)} must begin with http:// or https://, and name a host")
    if not 0 < (found.port or _PORTS[found.scheme]) <= _LAST_PORT:
        raise UrlNotAllowed(f"{_describe(url)} names a port that there can't be")
    if found.userinfo:
        raise UrlNotAllowed("a URL with a user name or password in it isn't accepted")
    return found


async def targets(url: str, *, allow_private: bool, owner: str = "") -> list[Target]:
    """
    Resolve *url* once, at the expense of *owner*, and check every address.

    Raises:
        UrlNotAllowed: the scheme isn't HTTP's, or an address isn't public.
        UrlUnreachable: the host has no address, or too many names of the owner are being looked up.
    """
    found = parsed(url)
    name = found.raw_host.decode("ascii")
    port = found.port or _PORTS[found.scheme]
    addresses = await lookups.addresses(name, port, owner=owner)
    if not allow_private and not all(map(is_public, addresses)):
        raise UrlNotAllowed(no_address(name))
    return [Target(found.copy_with(host=address), found.netloc.decode("ascii"), name) for address in addresses]


def client(*, silence_s: float) -> httpx.AsyncClient:
    """A client for `opened`: no redirects, no proxy or password out of the environment, no connection kept."""
    return httpx.AsyncClient(
        verify=_certificates(),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@cache
def _certificates() -> ssl.SSLContext:
    """What is believed of servers; to read it for each request would occupy the event loop for 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    allow_private: bool,
    headers: dict[str, str],
    content: bytes | None = None,
    owner: str = "",
) -> AsyncIterator[httpx.Response]:
    """
    Ask for *url* at the addresses that were checked; the body isn't read yet.

    Raises:
        UrlNotAllowed: see `targets`.
        UrlUnreachable: no address answers.
    """
    last: Exception | None = None
    for target in await targets(url, allow_private=allow_private, owner=owner):
        request = http.build_request(
            method,
            target.url,
            headers={**headers, "Host": target.host},
            content=content,
            extensions={"sni_hostname": target.name},
        )
        async with AsyncExitStack() as stack:
            try:
                response = await http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = error
                continue
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise UrlUnreachable(f"no answer from {_describe(url)}: {_why(error)}") from error
            stack.push_async_callback(response.aclose)
            yield response
            return
    raise UrlUnreachable(f"no connection to {_describe(url)}: {_why(last)}") from last


def _describe(url: str) -> str:
    return repr(url if len(url) <= 200 else url[:197] + "...")


def _why(error: Exception | None) -> str:
    return str(error) or type(error).__name__
