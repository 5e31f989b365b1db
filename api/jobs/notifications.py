"""What clients are told without asking: events while they listen, webhooks when they don't."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import cast

from api.auth.audit import AuditLog
from api.auth.audited import AuditedEvents, AuditedOutbox
from api.middleware.zero_retention import NotingEvents
from transcription.ledger.connections.answer_times import AnswerTimes
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.tenants.webhook_secrets import RedisWebhookSecrets
from transcription.ledger.webhook_outbox import RedisOutbox
from transcription.ports import EventLog, Outbox
from transcription.settings import Settings
from transcription.storage.results import open_results


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifications:
    """
    The ledger's side of it. Its connections are its own: thousands who listen don't delay a submit.

    ``watch`` is the process' one listener for changes, which those who wait for a job share.
    """

    events: EventLog
    outbox: Outbox
    secrets: RedisWebhookSecrets
    watch: Watch


def notifications(settings: Settings, log: AuditLog, stack: AsyncExitStack, times: AnswerTimes) -> Notifications:
    """
    Open the connections; *stack* closes them. Nothing connects before the first use.

    Args:
        settings: Everything that can be set.
        log: Of who listens.
        stack: Closes the connections.
        times: Takes how long the ledger's answers took.
    """
    client = connect_async(settings.ledger, times)
    watch = Watch(client)
    stack.push_async_callback(client.aclose)
    stack.push_async_callback(watch.close)
    events: EventLog = AuditedEvents(RedisEvents(client, settings, watch, open_results(settings)), log)
    if settings.retention.delete_after_read:
        events = NotingEvents(events)
    outbox = cast("Outbox", AuditedOutbox(RedisOutbox(client, settings), log))
    return Notifications(events=events, outbox=outbox, secrets=RedisWebhookSecrets(client), watch=watch)
