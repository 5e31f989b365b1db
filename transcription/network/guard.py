"""
URLs that clients name, and the addresses that they may lead to.

A URL is resolved once, every address is judged, and the connection goes to one of those very addresses: a name that
resolves to something else a moment later changes nothing. `Host` and the certificate's name stay the URL's own.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from transcription.errors import UrlNotAllowed, UrlUnreachable

RESOLVE_S = 5.0
CONNECT_S = 5.0
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL whose host is an address, and what the server must hear instead of it."""

    url: httpx.URL
    host: str
    name: str


def is_public(address: str) -> bool:
    """Whether *address* belongs to the open internet, also when an IPv6 address only wraps an IPv4 one."""
    found: IPv4Address | IPv6Address | None = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    return bool(found and found.is_global and not found.is_multicast and not found.is_reserved)


def parsed(url: str) -> httpx.URL:
    """*url*, if it is one that may be asked for at all. UrlNotAllowed."""
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise UrlNotAllowed(f"{_describe(url)} is no URL: {error}") from error
    if found.scheme not in {"http", "https"} or not found.host:
        raise UrlNotAllowed(f"{_describe(url)} must begin with http:// or https://, and name a host")
    if found.userinfo:
        raise UrlNotAllowed("a URL with a user name or password in it isn't taken")
    return found


async def targets(url: str, *, allow_private: bool) -> list[Target]:
    """
    Resolve *url* once, and judge every address.

    Raises:
        UrlNotAllowed: the scheme isn't HTTP's, or an address isn't public.
        UrlUnreachable: the host has no address.
    """
    found = parsed(url)
    name = found.raw_host.decode("ascii")
    port = found.port or {"http": 80, "https": 443}[found.scheme]
    try:
        async with asyncio.timeout(RESOLVE_S):
            rows = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise UrlUnreachable(f"the host {name[:100]!r} has no address: {error or type(error).__name__}") from error
    addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
    if not allow_private and not all(map(is_public, addresses)):
        raise UrlNotAllowed(
            f"the host {name[:100]!r} isn't on the open internet (MURMUR_OUTBOUND__ALLOW_PRIVATE_ADDRESSES)"
        )
    return [Target(found.copy_with(host=address), found.netloc.decode("ascii"), name) for address in addresses]


def client(*, silence_s: float) -> httpx.AsyncClient:
    """A client for `opened`: no redirects, no proxy or password out of the environment, no connection kept."""
    return httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    allow_private: bool,
    headers: dict[str, str],
    content: bytes | None = None,
) -> AsyncIterator[httpx.Response]:
    """
    Ask for *url* at the addresses that were judged; the body isn't read yet.

    Raises:
        UrlNotAllowed: see `targets`.
        UrlUnreachable: no address answers.
    """
    last: Exception | None = None
    for target in await targets(url, allow_private=allow_private):
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
