"""What tells others that something happened: hints to workers, events to watchers, messages to webhooks."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from transcription.job import Job
from transcription.webhook import DeliveryLog, Message, Verdict


class JobQueue(Protocol):
    """Hints to the workers that there is something to claim. Losing one, or getting it twice, doesn't matter."""

    def hint(self, lane: str, count: int = 1) -> None:
        """Send *count* hints to workers that suit a lane; never raises: a lost hint is sent again."""

    def waiting(self, lane: str) -> int:
        """Hints of a lane that no worker has taken yet."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job: `status`, `progress`, `segment`, `warning`, or its end: `done` or `error`."""

    id: str
    type: str
    data: dict[str, Any]


class EventLog(Protocol):
    """What happens to a job, in order, each event with an id that can be resumed from."""

    def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """
        Yield what happened after the event *after*, and what happens, until the job's end.

        None means that there is nothing to tell: at the start, and then after every *quiet_s* seconds. Holds neither
        a thread nor a connection. MalformedRequest: *after* isn't the id of an event.
        """


class Outbox(Protocol):
    """Messages about jobs' ends: workers claim and settle them, the API shows and replays them."""

    due_in_s: float | None
    """After a claim that found nothing due: in how many seconds the next message is; None: there is none."""

    async def claim(self, *, lease_s: float) -> Message | None:
        """Take a message that is due; nobody else gets it for *lease_s*. LedgerUnavailable."""

    async def settle(
        self, message: Message, outcome: Verdict, *, retry_in_s: float | None, status: int, error: str, took_s: float
    ) -> bool:
        """Write what a try came to; False when another worker has the message by now. LedgerUnavailable."""

    async def log(self, job_id: str, *, tenant: str) -> DeliveryLog:
        """What was sent for a job, and what came of it. JobNotFound, LedgerUnavailable."""

    async def replay(self, job_id: str, *, tenant: str) -> None:
        """Send a job's last message again, under its own id. JobNotFound, NoWebhook, LedgerUnavailable."""
