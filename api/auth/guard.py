"""Who may do what, put together for one API process by its settings."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from api.auth.access import AccessPolicy
from api.auth.audit import AuditLog
from api.auth.audited import audited
from api.auth.quotas import SubmissionQuotas
from api.auth.rate_limits import RateLimits
from api.metrics.process import ApiMetrics
from transcription.ledger.audit_heads import AuditHeads
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.tenants.api_keys import RedisKeys
from transcription.ledger.tenants.quotas import RedisQuotas
from transcription.ports import JobStore
from transcription.settings import Settings


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The access policy, the quotas of submissions, and the audit log."""

    policy: AccessPolicy
    submission_quotas: SubmissionQuotas
    log: AuditLog

    def audited_jobs(self, jobs: JobStore) -> JobStore:
        """*jobs*, with every call recorded in the audit log where there is one."""
        return audited(jobs, self.log) if self.log.on else jobs


def guard(settings: Settings, meters: ApiMetrics, stack: AsyncExitStack) -> AccessControl:
    """Build the parts; *stack* closes them, *meters* take their figures."""
    log = _audit_log(settings, meters, stack)
    rates = RateLimits(settings, meters.registry)
    stack.push_async_callback(rates.close)
    keys, quotas = None, None
    if settings.security.require_keys or settings.security.default_tier or settings.api.rapidapi_secret:
        client = connect_async(settings.ledger, meters.ledger.times)
        stack.push_async_callback(client.aclose)
        keys = RedisKeys(client) if settings.security.require_keys else None
        quotas = RedisQuotas(client)
    return AccessControl(
        AccessPolicy(settings, keys=keys, rates=rates, log=log),
        SubmissionQuotas(settings, rates=rates, quotas=quotas),
        log,
    )


def _audit_log(settings: Settings, meters: ApiMetrics, stack: AsyncExitStack) -> AuditLog:
    if not settings.security.audit_log:
        return AuditLog("", meters.audit_lost)
    client = connect_async(settings.ledger)
    stack.push_async_callback(client.aclose)
    log = AuditLog(settings.security.audit_log, meters.audit_lost, AuditHeads(client))
    stack.push_async_callback(log.close)
    log.follow()
    return log
