"""Who may do what: API keys and their scopes."""

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a key is good for: the first three within its tenant, ``operator`` for what crosses tenants."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """
    A key as the ledger knows it: everything but the secret. Times in Unix seconds, None for never.

    ``tier`` names the tenant's limits; empty: the platform's default tier. ``networks``: comma-separated, where it may
    be used from; empty: from anywhere. ``used_at`` is exact to a minute.
    """

    id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]
    tier: str
    created_at: float
    expires_at: float | None = None
    networks: str = ""
    used_at: float | None = None

    def expired(self, now: float) -> bool:
        """Whether it isn't good any more at *now*."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: jobs of one tenant don't exist for another. ``key_id`` is empty for a client without a key."""

    tenant: str = DEFAULT_TENANT
    key_id: str = ""
    scopes: frozenset[Scope] = frozenset()
    tier: str = ""
    address: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether this client may do what *scope* stands for; an admin may do everything within its tenant."""
        return scope in self.scopes or (Scope.ADMIN in self.scopes and scope is not Scope.OPERATOR)
