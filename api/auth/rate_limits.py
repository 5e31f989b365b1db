"""Rate limits: requests and submits, counted by slowapi in Redis, in this process's memory while Redis is away."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from limits import RateLimitItem, parse
from prometheus_client import CollectorRegistry, Counter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.requests import Request

from transcription.access import Principal
from transcription.errors import RateLimited
from transcription.settings import Settings
from transcription.settings.security import Tier

# Somebody waits for the answer, and a limit is worth no outage.
_TIMEOUT_S = 0.3
_THREADS = 4


@dataclass(frozen=True, slots=True)
class LimitState:
    """What is left of one limit: *remaining* of *quota* in a window of *window_s*, all of it again in *reset_s*."""

    name: str
    quota: int
    window_s: int
    remaining: int
    reset_s: int


class RateLimits:
    """
    The limits of every tier, and of addresses. A moving window: no burst fits at the seam of two.

    slowapi's limiter judges in threads of its own, because its storage is synchronous.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        security = settings.security
        self._limiter = Limiter(
            key_func=_subject,
            key_style="endpoint",
            key_prefix="murmur",
            strategy="moving-window",
            storage_uri=settings.ledger.cache(),
            storage_options={"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S},  # type: ignore[dict-item]
            in_memory_fallback_enabled=True,
        )
        self._stored = self._limiter.limiter
        self._threads = ThreadPoolExecutor(_THREADS, "limits")
        self._failed_open = Counter(
            "murmur_rate_limit_fallbacks",
            "Requests judged by this process's own count, because Redis couldn't be asked.",
            registry=registry,
        )
        self._checks: dict[str, tuple[RateLimitItem, Callable[[Request], None]]] = {}
        self._add("address", f"{security.address_requests_per_minute}/minute")
        for name, tier in security.tiers.items():
            self._add(f"requests_{name}", f"{tier.requests_per_minute}/minute")
            self._add(f"submits_{name}", f"{tier.submits_per_hour}/hour")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    async def address(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a request of the client's address, and note in *limit_states* what is left. RateLimited."""
        await self._count("address", "address", f"address:{client.address}", limit_states)

    async def request(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a request of the client's key, or of its address if it has none. RateLimited."""
        await self._count("requests", f"requests_{client.tier}", client.subject, limit_states)

    async def submit(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a recording that the client hands in. RateLimited."""
        await self._count("submits", f"submits_{client.tier}", client.subject, limit_states)

    def _add(self, name: str, limit: str) -> None:
        if limit.startswith("0/"):
            return

        def passed(request: Request) -> None:
            """Do nothing: slowapi's decorator counts and judges."""

        passed.__name__ = name  # slowapi's key of the counter
        self._checks[name] = (parse(limit), self._limiter.limit(limit)(passed))

    async def _count(self, word: str, name: str, subject: str, limit_states: list[LimitState]) -> None:
        check = self._checks.get(name)
        if check is None:
            return
        loop = asyncio.get_running_loop()
        state, allowed = await loop.run_in_executor(self._threads, self._hit, word, *check, subject)
        if self._limiter.limiter is not self._stored:
            self._failed_open.inc()
        limit_states.append(state)
        if not allowed:
            raise RateLimited(
                f"{state.quota} {word} in {state.window_s} s are all that may come; "
                f"the next one fits in {state.reset_s} s",
                retry_after_s=state.reset_s,
            )

    def _hit(
        self, word: str, item: RateLimitItem, check: Callable[[Request], None], subject: str
    ) -> tuple[LimitState, bool]:
        # slowapi takes a subject from a request, and looks at one limit for each.
        request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "state": {"subject": subject}})
        try:
            check(request)
            allowed = True
        except RateLimitExceeded:
            allowed = False
        try:
            reset_at, remaining = self._limiter.limiter.get_window_stats(item, *request.state.view_rate_limit[1])
        except Exception:  # noqa: BLE001  the count was made; what is said of it is worth no error
            reset_at, remaining = time.time() + item.get_expiry(), 0
        reset_s = max(1, math.ceil(reset_at - time.time()))
        return LimitState(word, item.amount, item.get_expiry(), remaining, reset_s), allowed


def tier_of(client: Principal, settings: Settings) -> Tier:
    """What the client's tier allows: everything, where it has none."""
    return settings.security.tiers.get(client.tier, Tier())


def headers(limit_states: list[LimitState]) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy`, structured fields of the IETF's draft; nothing where nothing is limited."""
    if not limit_states:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.quota};w={s.window_s}' for s in limit_states),
        "RateLimit": ", ".join(f'"{s.name}";r={s.remaining};t={s.reset_s}' for s in limit_states),
    }


def _subject(request: Request) -> str:
    return str(request.state.subject)
