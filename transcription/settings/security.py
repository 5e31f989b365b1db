"""Settings of who may do what, and how much of it."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from transcription.settings.section import Part


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks of a comma-separated list, each as `10.0.0.0/8` or one address. ValueError."""
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def _surface(value: str) -> str:
    if value not in {"open", "key", "closed"} and not networks(value):
        raise ValueError("must be open, key, closed, or networks as 10.0.0.0/8,fd00::/8")
    return value


def _networks(value: str) -> str:
    networks(value)
    return value


Surface = Annotated[str, AfterValidator(_surface)]
Networks = Annotated[str, AfterValidator(_networks)]


class Tier(Part):
    """What one key, or one address without a key, may use; 0: no limit."""

    requests_per_minute: int = Field(0, ge=0, description="Requests per minute.")
    submits_per_hour: int = Field(0, ge=0, description="Submits per hour.")
    concurrent_jobs: int = Field(0, ge=0, description="The tenant's unfinished jobs.")
    audio_s_per_day: int = Field(0, ge=0, description="The tenant's audio per day (UTC).")
    stored_jobs: int = Field(100_000, ge=0, description="The tenant's jobs that are kept, finished ones included.")
    stored_bytes: int = Field(256 << 20, ge=0, description="Bytes of the ledger that the requests of these jobs take.")
    max_ttl_s: int = Field(30 * 86_400, ge=0, description="How long a job is kept at most, whatever it asks for.")


_TIERS = {
    "free": Tier(
        requests_per_minute=120,
        submits_per_hour=10,
        concurrent_jobs=5,
        audio_s_per_day=2 * 3600,
        stored_jobs=2000,
        stored_bytes=16 << 20,
        max_ttl_s=7 * 86_400,
    ),
    "premium": Tier(
        requests_per_minute=1200,
        submits_per_hour=1000,
        concurrent_jobs=100,
        audio_s_per_day=200 * 3600,
        stored_jobs=50_000,
        stored_bytes=128 << 20,
    ),
}


class Security(Part):
    """Who may do what, and how much of it; see SECURITY.md."""

    require_keys: bool = Field(False, description="Require an API key (`murmur keys create`); off: keys are ignored.")
    share_results: bool = Field(
        True, description="Share computations between tenants; off: a fast answer reveals nothing about others."
    )
    trusted_proxies: Networks = Field("", description="Networks whose `X-Forwarded-For` and `-Proto` are trusted.")
    default_tier: str = Field("", description="Tier of keys without one, and of clients without keys; empty: none.")
    tiers: dict[str, Tier] = Field(_TIERS, description="Limits of each tier; 0: no limit.")
    address_requests_per_minute: int = Field(
        0, ge=0, description="Requests per minute from one address, whatever its key; 0: no limit."
    )
    metrics: Surface = Field("open", description="/metrics: `open`, `key` (of an operator), `closed`, or networks.")
    stats: Surface = Field("open", description="/stats and /health/async: `open`, `key`, `closed`, or networks.")
    admin: Surface = Field("key", description="/admin: `open`, `key`, `closed`, networks; `key`: open without keys.")
    docs: Surface = Field("open", description="/docs, /redoc, /openapi.json: `open`, `key`, `closed`, or networks.")
    sandbox: bool = Field(True, description="Lock down the processes that decode uploads; off: only limits.")
    sandbox_memory_bytes: int = Field(4 << 30, gt=0, description="Memory limit for decoding one file.")
    audit_log: str = Field("", description="Audit log file, as JSON lines; `-`: standard error; empty: none.")


STRICT: dict[str, Any] = {
    "security": {
        "require_keys": True,
        "share_results": False,
        "default_tier": "free",
        "address_requests_per_minute": 600,
        "metrics": "key",
        "stats": "key",
        "docs": "closed",
        "audit_log": "-",
    },
    "outbound": {"url_ingestion": False},
}
"""What the strict profile sets, where nothing else does."""
