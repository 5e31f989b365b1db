"""Who may call from where: the names this API goes by, and the origins whose pages may use it."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from transcription.errors import Forbidden
from transcription.settings import Api

_METHODS = ["GET", "POST", "PATCH", "DELETE"]
_READABLE = [
    "x-request-id", "location", "retry-after", "etag", "content-disposition", "murmur-complete", "murmur-warnings",
    "murmur-job", "idempotent-replayed", "ratelimit", "ratelimit-policy", "warning",
]  # fmt: skip
_PREFLIGHT_S = 600
_HARMLESS = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_BY_ADDRESS = ("/health/live", "/metrics", "/metrics/ledger", "/metrics/targets")
"""What health checks and Prometheus ask each replica by its address, and no client does."""


def refuse_foreign_pages(app: FastAPI, settings: Api) -> None:
    """Make *app* refuse what pages of other origins ask for, but for looks."""
    app.add_middleware(ForeignPages, allowed=settings.cors_origins)


def install(app: FastAPI, settings: Api) -> None:
    """Make *app* refuse other Host headers, and answer browsers on the pages that *settings* name."""
    hosts = trusted_hosts(settings)
    if "*" not in hosts:
        for_any = _BY_ADDRESS if settings.trusted_hosts else ()
        app.add_middleware(TrustedHosts, allowed_hosts=list(hosts), www_redirect=False, for_any=for_any)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_READABLE,
            max_age=_PREFLIGHT_S,
        )


def trusted_hosts(settings: Api) -> tuple[str, ...]:
    """
    The names that a request's Host may have.

    Where the API listens on the loopback address and nothing else is set, these are the loopback's own: a page whose
    name suddenly leads to 127.0.0.1 (DNS rebinding) still says its own name.
    """
    if settings.trusted_hosts:
        return settings.trusted_hosts
    return (*_LOOPBACK, settings.host) if _is_loopback(settings.host) else ("*",)


class TrustedHosts(TrustedHostMiddleware):
    """
    Starlette's, which is asked only about hosts that aren't one of the allowed names as they stand, with a port.

    The paths *for_any* are answered whatever the host.
    """

    def __init__(
        self, app: ASGIApp, allowed_hosts: list[str], *, www_redirect: bool, for_any: tuple[str, ...] = ()
    ) -> None:
        super().__init__(app, allowed_hosts, www_redirect)
        self._for_any = for_any
        self._plain = frozenset(name.lower().encode() for name in allowed_hosts if "*" not in name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            name, _, port = host.partition(b":")
            plain = name in self._plain and (name == host or port.isdigit())
            if plain or scope["path"] in self._for_any:
                await self.app(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


class ForeignPages:
    """
    Refuses what a page of another origin asks for, but for looks: a browser sends simple forms to anybody.

    A client that is no browser sends no Origin. The page of this host itself, by whatever scheme, may do all.
    """

    def __init__(self, app: ASGIApp, *, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] not in _HARMLESS:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._may(origin, headers.get("host", "")):
                error = Forbidden(f"a page of {origin[:200]!r} may not do this (MURMUR_API__CORS_ORIGINS)")
                answer = await problems.answer(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _may(self, origin: str, host: str) -> bool:
        if "*" in self._allowed or origin in self._allowed:
            return True
        try:
            return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
