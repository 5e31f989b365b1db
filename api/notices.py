"""What clients are told without asking: events while they listen, webhooks when they don't."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from transcription.infra.audit import AuditedEvents, AuditLog
from transcription.infra.connections import connect_async
from transcription.infra.events import RedisEvents
from transcription.infra.outbox import RedisOutbox
from transcription.infra.watch import Watch
from transcription.ports import EventLog
from transcription.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """The ledger's side of it. Its connections are its own: thousands who listen don't delay a submit."""

    events: EventLog
    outbox: RedisOutbox


def notices(settings: Settings, log: AuditLog, stack: AsyncExitStack) -> Notices:
    """Open the connections; *stack* closes them. Nothing connects before the first use. *log*: of who listens."""
    client = connect_async(settings.ledger)
    watch = Watch(client)
    stack.push_async_callback(client.aclose)
    stack.push_async_callback(watch.close)
    events = AuditedEvents(RedisEvents(client, settings, watch), log)
    return Notices(events=events, outbox=RedisOutbox(client, settings))


async def _notices(request: Request) -> Notices:
    found: Notices = request.app.state.notices
    return found


Told = Annotated[Notices, Depends(_notices)]
