"""The certificates that httpx believes, read once for all clients of a process: each reads them anew, for 20 ms."""

import ssl
from functools import cache

import httpx
from httpx._transports import default


def pytest_configure() -> None:
    """Hundreds of tests ask with a client of their own, many of them again and again; hardly one speaks TLS."""
    default.create_ssl_context = _context  # type: ignore[attr-defined]


def _context(verify: ssl.SSLContext | str | bool = True, cert: object = None, trust_env: bool = True) -> ssl.SSLContext:
    return _read() if verify is True and cert is None else httpx.create_ssl_context(verify, cert, trust_env)


@cache
def _read() -> ssl.SSLContext:
    return httpx.create_ssl_context()
