"""Access to the API: authentication, authorization and rate limits of every request, whatever its route."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.auth import rate_limits
from api.auth.audit import AuditLog, asking, reads
from api.auth.rate_limits import LimitState, RateLimits
from transcription.access import Principal
from transcription.access import Scope as KeyScope
from transcription.errors import Forbidden, MurmurationError, Unauthorized
from transcription.ports import KeyRing
from transcription.settings import Settings
from transcription.settings.security import Security, networks

# What answers without a key: whether the platform lives, the page that people use (its calls need a key), and audio
# for workers, whose links are signed.
PUBLIC = ("/health", "/health/live", "/health/ready", "/", "/favicon.ico")
PUBLIC_UNDER = ("/static/", "/web/", "/internal/")  # the last asks for a signature instead

_SURFACES = {
    "/metrics": "metrics",
    "/stats": "stats",
    "/health/async": "stats",
    "/admin": "admin",
    "/docs": "docs",
    "/redoc": "docs",
    "/openapi.json": "docs",
}
_SURFACE_STARTS = tuple(_SURFACES)
_READS = {"GET", "HEAD"}


class AccessPolicy:
    """Decides by the settings whether a request is allowed; the middleware asks it."""

    def __init__(self, settings: Settings, *, keys: KeyRing | None, rates: RateLimits, log: AuditLog) -> None:
        self._settings = settings
        self._security = settings.security
        self._keys = keys
        self.rates = rates
        self.log = log

    async def admit(self, scope: Scope, limit_states: list[LimitState]) -> Principal:
        """
        Identify the client, and append to *limit_states* what is left of its rate limits.

        Raises:
            Unauthorized, Forbidden: no key, or not for this.
            RateLimited: too many requests.
            LedgerUnavailable: the key can't be looked up.
        """
        path = route_path(scope)
        nobody = Principal(tier=self._security.default_tier, address=client_address(scope))
        asking.set((nobody, _request_id(scope)))
        if _is_public(path):
            return nobody
        if self._keys is None:
            await self.rates.anonymous(nobody, limit_states)
        else:  # before the key is looked up: who guesses is counted too
            await self.rates.address(nobody, limit_states)
        client = await self._identified(scope, nobody)
        asking.set((client, _request_id(scope)))
        surface = surface_of(path)
        if surface:
            self._check_surface(getattr(self._security, surface), surface, client)
        elif self._security.require_keys:
            self._check_scope(scope["method"], client)
        if self._keys is not None:
            await self.rates.request(client, limit_states)
        return client

    async def _identified(self, scope: Scope, nobody: Principal) -> Principal:
        """Who the request's key stands for; nobody where it has none that is valid."""
        if self._keys is None:
            return nobody
        secret = _secret(Headers(scope=scope))
        key = await self._keys.find(secret) if secret else None
        if key is None:
            return nobody
        structlog.contextvars.bind_contextvars(key_id=key.id, tenant=key.tenant)
        if key.networks and not any(_inside(nobody.address, network) for network in networks(key.networks)):
            asking.set((replace(nobody, tenant=key.tenant, key_id=key.id), _request_id(scope)))
            raise Forbidden("this API key may not be used from this address")
        await self._keys.used(key)
        tier = key.tier if key.tier in self._security.tiers else self._security.default_tier
        return Principal(tenant=key.tenant, key_id=key.id, scopes=key.scopes, tier=tier, address=nobody.address)

    def _check_scope(self, method: str, client: Principal) -> None:
        if not client.key_id:
            raise Unauthorized("send an API key, as Authorization: Bearer … or X-API-Key; an operator makes them")
        needed = KeyScope.READ if method in _READS else KeyScope.SUBMIT
        if not client.may(needed):
            raise Forbidden(f"this API key may {_listed(client)}, and {method} needs {needed.value}")

    def _check_surface(self, rule: str, surface: str, client: Principal) -> None:
        if rule == "open" or (rule == "key" and not self._security.require_keys):
            return
        setting = f"MURMUR_SECURITY__{surface.upper()}"
        if rule == "closed":
            raise Forbidden(f"this is closed ({setting})")
        if rule != "key":
            if any(_inside(client.address, network) for network in networks(rule)):
                return
            raise Forbidden(f"this is open to certain networks only ({setting})")
        if not client.key_id:
            raise Unauthorized(f"send an API key of an operator ({setting})")
        if not client.may(KeyScope.OPERATOR):
            raise Forbidden(
                f"this API key may {_listed(client)}, and this crosses tenants: it needs operator ({setting})"
            )


class AccessMiddleware:
    """Lets a request through, with `scope["state"]["client"]` set, or answers it with a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy: AccessPolicy = scope["app"].state.policy
        state = scope.setdefault("state", {})
        state["limit_states"] = []

        async def send_limited(message: Message) -> None:
            if message["type"] == "http.response.start" and state["limit_states"]:
                raw = rate_limits.headers(state["limit_states"])
                message["headers"] = [*message["headers"], *((k.lower().encode(), v.encode()) for k, v in raw.items())]
            await send(message)

        try:
            state["client"] = await policy.admit(scope, state["limit_states"])
        except MurmurationError as error:
            await policy.log.write("refused", outcome=error.code, path=scope["path"][:200])
            answer = await problems.answer(Request(scope), error)
            await answer(scope, receive, send_limited)
            return
        if not policy.log.on:
            await self._app(scope, receive, send_limited)
            return
        reads.set({})
        try:
            await self._app(scope, receive, send_limited)
        finally:
            await policy.log.end_request()


def _request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def route_path(scope: Scope) -> str:
    """The path by which routes are found: without what a server puts before all of them, its `root_path`."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    rest = path.removeprefix(root)
    return rest if path.startswith(root) and (not rest or rest.startswith("/")) else path


def client_address(scope: Scope) -> str:
    """The peer's address, or the one that a trusted proxy has named; empty for a socket without addresses."""
    client = scope.get("client")
    return client[0] if client else ""


def _secret(headers: Headers) -> str:
    kind, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "").strip()


def surface_of(path: str) -> str | None:
    """Which setting says who may see *path*; None for what belongs to tenants."""
    if not path.startswith(_SURFACE_STARTS):
        return None
    for start, surface in _SURFACES.items():
        if path == start or path.startswith(f"{start}/"):
            return surface
    return None


def wants_key(path: str, security: Security) -> bool:
    """Whether *path* is for those with a key, where keys are required."""
    surface = surface_of(path)
    return not _is_public(path) and (surface is None or getattr(security, surface) == "key")


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(PUBLIC_UNDER)


def _listed(client: Principal) -> str:
    return " and ".join(sorted(client.scopes)) or "nothing"


def _inside(setting: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(setting) in network
    except ValueError:
        return False  # a socket without addresses
