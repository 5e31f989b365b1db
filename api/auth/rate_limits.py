"""Rate limits: requests and submits, counted in Redis, and in this process's memory while Redis is away."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from slowapi import Limiter
from slowapi.wrappers import LimitGroup

from api.auth.moving_window import Counted, MovingWindows, Window
from transcription.access import Principal
from transcription.errors import RateLimited
from transcription.ledger.connections.clients import NO_NOTICES
from transcription.settings import Settings
from transcription.settings.security import Tier

# Somebody waits for the answer, and a limit is worth no outage.
_TIMEOUT_S = 0.3
_NO_TIER = Tier(stored_jobs=0, stored_bytes=0, max_ttl_s=0)
_CONNECTIONS = 16
_RETRY_REDIS_S = 1.0
"""How long this process counts by itself after Redis has failed to answer."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """What is left of one limit: *remaining* of *quota* in a window of *window_s*, all of it again in *reset_s*."""

    name: str
    quota: int
    window_s: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that a request counts against: *word* for clients, *name* in the registry, whose requests it counts."""

    word: str
    name: str
    subject: str
    item: RateLimitItem


class AsyncLimiter(Limiter):
    """
    slowapi's limiter on the asynchronous half of the library below it, so that no thread waits for Redis.

    Limits are written as slowapi's, `5/minute`, and kept in its registry by name. A moving window: no burst fits
    between two windows.
    """

    def __init__(self, url: str) -> None:
        super().__init__(key_func=str, strategy="moving-window", key_prefix="murmur")
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            maint_notifications_config=NO_NOTICES,
            retry=Retry(NoBackoff(), 0),
        )
        self._pool = pool
        self._shared = MovingWindows(pool)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0

    def add(self, name: str, limit: str) -> None:
        """Register *limit*, as `5/minute`, under *name*."""
        group = LimitGroup(limit, self._key_func, name, False, None, None, None, 1, False)
        self._route_limits[name] = list(group)

    def item(self, name: str) -> RateLimitItem | None:
        """The limit called *name*; None where there is none."""
        found = self._route_limits.get(name)
        return found[0].limit if found else None

    async def hit(self, limits: Sequence[Limit]) -> tuple[list[Counted], bool]:
        """
        Count one request against *limits*, up to the first that is reached.

        Returns:
            What is left of each that was looked at; whether Redis counted.
        """
        if time.monotonic() >= self._away_until:
            windows = [
                Window(f"LIMITS:{one.item.key_for(*self._key(one))}", one.item.amount, one.item.get_expiry())
                for one in limits
            ]
            try:
                return await self._shared.count(windows, now=time.time()), True
            except (RedisError, OSError):
                self._away_until = time.monotonic() + _RETRY_REDIS_S
        counted: list[Counted] = []
        for one in limits:
            within = await self._own.hit(one.item, *self._key(one))
            ends_at, left = await self._own.get_window_stats(one.item, *self._key(one))
            counted.append(Counted(within, ends_at, left))
            if not within:
                break
        return counted, False

    def _key(self, limit: Limit) -> tuple[str, str, str]:
        return self._key_prefix, limit.subject, limit.name

    async def close(self) -> None:
        """Let the connections go."""
        await self._pool.disconnect()


class RateLimits:
    """The limits of every tier, and of addresses."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        security = settings.security
        self._limiter = AsyncLimiter(settings.ledger.cache())
        self._fallbacks = Counter(
            "murmur_rate_limit_fallbacks",
            "Requests limited by this process's own count, because Redis couldn't be asked.",
            registry=registry,
        )
        self._add("address", f"{security.address_requests_per_minute}/minute")
        for name, tier in security.tiers.items():
            self._add(f"requests_{name}", f"{tier.requests_per_minute}/minute")
            self._add(f"submits_{name}", f"{tier.submits_per_hour}/hour")

    async def close(self) -> None:
        """Let the connections go."""
        await self._limiter.close()

    async def address(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a request of the client's address, and append to *limit_states* what is left. RateLimited."""
        await self._count(self._of_address(client), limit_states)

    async def request(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a request of the client's key, or of its address if it has none. RateLimited."""
        await self._count(self._limit("requests", f"requests_{client.tier}", _subject(client)), limit_states)

    async def anonymous(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Both of these in one, for a client without a key. RateLimited."""
        own = self._limit("requests", f"requests_{client.tier}", _subject(client))
        await self._count([*self._of_address(client), *own], limit_states)

    async def submit(self, client: Principal, limit_states: list[LimitState]) -> None:
        """Count a submission of the client. RateLimited."""
        await self._count(self._limit("submits", f"submits_{client.tier}", _subject(client)), limit_states)

    def _add(self, name: str, limit: str) -> None:
        if not limit.startswith("0/"):
            self._limiter.add(name, limit)

    def _of_address(self, client: Principal) -> list[Limit]:
        return self._limit("address", "address", f"address:{neighbourhood(client.address)}")

    def _limit(self, word: str, name: str, subject: str) -> list[Limit]:
        """The limit called *name*; none where there is none."""
        item = self._limiter.item(name)
        return [] if item is None else [Limit(word, name, subject, item)]

    async def _count(self, limits: list[Limit], limit_states: list[LimitState]) -> None:
        if not limits:
            return
        found, shared = await self._limiter.hit(limits)
        if not shared:
            self._fallbacks.inc()
        for limit, counted in zip(limits, found, strict=False):  # those behind one that is reached aren't looked at
            allowed, seconds = limit.item.amount, limit.item.get_expiry()
            reset_s = max(1, math.ceil(counted.ends_at - time.time()))
            limit_states.append(LimitState(limit.word, allowed, seconds, counted.left, reset_s))
            if not counted.within:
                raise RateLimited(
                    f"the limit is {allowed} {limit.word} in {seconds} s; try again in {reset_s} s",
                    retry_after_s=reset_s,
                )


def _subject(client: Principal) -> str:
    """Whose requests are counted together: the key's, or else the address's."""
    return f"key:{client.key_id}" if client.key_id else f"address:{neighbourhood(client.address)}"


def neighbourhood(address: str) -> str:
    """Whose *address* it is, as far as anybody can tell: of IPv6 a household has 2^64, so the first half counts."""
    try:
        found = ip_address(address)
    except ValueError:
        return address  # a socket without addresses
    if found.version == 4:
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found) >> 64 << 64, 64)))


def tier_of(client: Principal, settings: Settings) -> Tier:
    """What the client's tier allows: everything, where it has none."""
    return settings.security.tiers.get(client.tier, _NO_TIER)


def headers(limit_states: list[LimitState]) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy`, structured fields of the IETF's draft; nothing where nothing is limited."""
    if not limit_states:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.quota};w={s.window_s}' for s in limit_states),
        "RateLimit": ", ".join(f'"{s.name}";r={s.remaining};t={s.reset_s}' for s in limit_states),
    }
