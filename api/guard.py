"""Who may do what, put together for one API process by its settings."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from api.access import Doorman
from api.allowances import Allowances
from api.limits import RateLimits
from transcription.infra.audit import AuditLog, audited
from transcription.infra.connections import connect_async
from transcription.infra.keys import RedisKeys
from transcription.infra.quotas import RedisQuotas
from transcription.ports import JobStore
from transcription.settings import Settings


@dataclass(frozen=True, slots=True)
class Guard:
    """The gate's judge, what clients may hand in, and the audit log."""

    doorman: Doorman
    allowances: Allowances
    log: AuditLog

    def watch(self, jobs: JobStore) -> JobStore:
        """*jobs*, written down in the audit log where there is one."""
        return audited(jobs, self.log) if self.log.on else jobs


def guard(settings: Settings, registry: CollectorRegistry, stack: AsyncExitStack) -> Guard:
    """Build the parts; *stack* closes them, *registry* takes their figures."""
    log = AuditLog(settings.security.audit_log)
    stack.callback(log.close)
    rates = RateLimits(settings, registry)
    stack.callback(rates.close)
    keys, quotas = None, None
    if settings.security.require_keys or settings.security.default_tier or settings.api.rapidapi_secret:
        client = connect_async(settings.ledger)
        stack.push_async_callback(client.aclose)
        keys = RedisKeys(client) if settings.security.require_keys else None
        quotas = RedisQuotas(client)
    return Guard(
        Doorman(settings, keys=keys, rates=rates, log=log),
        Allowances(settings, rates=rates, quotas=quotas),
        log,
    )
