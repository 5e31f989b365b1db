"""Settings of the ledger: where it is, how leases work, how long things are kept."""

from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, model_validator

from transcription.settings.section import Part


class Ledger(Part):
    """Where the truth is kept."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis URL of the ledger; needs `noeviction` and AOF."
    )
    broker_url: SecretStr | None = Field(None, description="Redis URL for Celery's messages. Default: the ledger's.")
    cache_url: SecretStr | None = Field(
        None, description="Redis URL for rate limits; eviction is fine. Default: the ledger's."
    )
    password: SecretStr | None = Field(None, description="Password for those of these Redis URLs that hold none.")
    wait_aof: bool = Field(False, description="Answer a submit only after Redis has synced it to disk (WAITAOF).")
    timeout_s: float = Field(
        0.8, gt=0, description="How long one request waits for the ledger in all before it is answered 503."
    )
    audit_length: int = Field(100_000, ge=0, description="State changes kept in the ledger's audit stream.")

    @model_validator(mode="before")
    @classmethod
    def _give_password(cls, values: Any) -> Any:
        given = values.get("password") if isinstance(values, dict) else None
        if not given:
            return values
        password = _text(given)
        urls = {name: values[name] for name in ("url", "broker_url", "cache_url") if values.get(name)}
        return values | {name: with_password(_text(url), password) for name, url in urls.items()}

    def broker(self) -> str:
        """The broker's URL, with its password."""
        return (self.broker_url or self.url).get_secret_value()

    def cache(self) -> str:
        """The cache's URL, with its password."""
        return (self.cache_url or self.url).get_secret_value()


def with_password(url: str, password: str) -> str:
    """*url* of a Redis server with *password*, unless it holds one already or is no address of a server."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or parts.password:
        return url
    server = f"{parts.username or ''}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, server, *parts[2:]))


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


class Lease(Part):
    """How long a worker keeps a span without progress, and how often a span is tried."""

    ttl_s: float = Field(20.0, gt=0, description="Length of a lease; a dead worker's spans are taken over after it.")
    renew_s: float = Field(5.0, gt=0, description="Time between two heartbeats of a worker.")
    stall_s: float = Field(120.0, gt=0, description="Time without progress after which a lease is no longer renewed.")
    max_attempts: int = Field(3, ge=1, description="Attempts at a span before its job fails.")
    platform_patience_s: float = Field(
        6 * 3600.0, gt=0, description="How long a span is retried while only the platform is at fault."
    )

    @property
    def poll_s(self) -> float:
        """Time between two renewals; each one also picks up cancellations."""
        return min(1.0, self.renew_s / 2)

    @property
    def reap_s(self) -> float:
        """Time between two searches for expired leases."""
        return min(2.0, self.ttl_s / 10)


class Retention(Part):
    """How long things are kept."""

    result_ttl_s: int = Field(86_400, gt=0, description="How long a finished job and its result are kept.")
    results_in_ledger_s: float = Field(
        3600.0,
        ge=0,
        description="How long a finished result stays in the ledger before it moves to the blob store; not a long one.",
    )
    tombstone_ttl_s: int = Field(
        7 * 86_400, gt=0, description="How long the API still answers `expired` for a deleted job."
    )
    dead_letter_ttl_s: int = Field(
        30 * 86_400, gt=0, description="How long a dead letter is kept, with its jobs and audio."
    )
    rewrite_s: float = Field(
        3600.0, ge=0, description="How long what was deleted may stay in the ledger's append-only file; 0: for ever."
    )
    keep_audio: bool = Field(
        False, description="Keep recordings as long as their results; else they go when the words are there."
    )
    delete_after_read: bool = Field(
        False, description="Zero retention: delete a job once its whole result was sent to a client; see SECURITY.md."
    )
    orphan_s: float = Field(3600.0, gt=0, description="Age at which files that no job needs are deleted.")
