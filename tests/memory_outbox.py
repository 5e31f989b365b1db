"""An Outbox in memory, for tests of what delivers webhooks: time moves as the test says."""

from dataclasses import dataclass, field, replace

from transcription.errors import JobNotFound, NoWebhook
from transcription.webhook import DeliveryLog, Message, PendingDelivery, Try, Verdict


@dataclass
class _Sent:
    """A job's message: ``state`` is `pending` or what became of it, ``due`` when it may be claimed."""

    message: Message
    state: str = "pending"
    due: float = 0.0
    tries: list[Try] = field(default_factory=list)


class MemoryOutbox:
    """The outbox without a ledger. ``now`` is its clock, in seconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.due_in_s: float | None = None
        self._jobs: dict[tuple[str, str], _Sent | None] = {}

    def end(self, job_id: str, *, tenant: str = "default", url: str | None, status: str = "completed") -> None:
        """Let a job end; with a *url* that puts a message here."""
        message = url and Message(
            id=f"msg_{job_id}", job_id=job_id, url=url, status=status, error=None, at=self.now, attempt=0, tries=0,
            enqueued_at=self.now, now=self.now, tenant=tenant,
        )  # fmt: skip
        self._jobs[tenant, job_id] = _Sent(message, due=self.now) if message else None

    async def claim(self, *, lease_s: float) -> Message | None:
        """Take the message that has been due the longest."""
        due = [sent for sent in self._jobs.values() if sent and sent.state == "pending" and sent.due <= self.now]
        if not due:
            return None
        sent = min(due, key=lambda one: one.due)
        before = sent.message
        sent.message = replace(before, attempt=before.attempt + 1, tries=before.tries + 1, now=self.now)
        sent.due = self.now + lease_s
        return sent.message

    async def settle(
        self, message: Message, outcome: Verdict, *, retry_in_s: float | None, status: int, error: str, took_s: float
    ) -> bool:
        """Write what a try came to."""
        sent = self._jobs.get((message.tenant, message.job_id))
        if sent is None or sent.state != "pending" or sent.message.attempt != message.attempt:
            return False
        sent.tries.append(
            Try(
                message=message.id,
                at=self.now,
                outcome=outcome,
                attempt=message.attempt,
                status=status or None,
                error=error or None,
                took_s=took_s,
            )
        )
        if retry_in_s is None:
            sent.state = outcome.value
        else:
            sent.due = self.now + retry_in_s
        return True

    async def log(self, job_id: str, *, tenant: str) -> DeliveryLog:
        """What was sent for a job."""
        sent = self._found(job_id, tenant)
        if sent is None:
            return DeliveryLog(url=None, messages=(), tries=())
        message = sent.message
        delivery = PendingDelivery(
            id=message.id, status=message.status, at=message.at, state=sent.state, attempts=message.attempt,
            next_try_at=sent.due if sent.state == "pending" else None,
        )  # fmt: skip
        return DeliveryLog(url=message.url, messages=(delivery,), tries=tuple(sent.tries))

    async def replay(self, job_id: str, *, tenant: str) -> None:
        """Send a job's message again."""
        sent = self._found(job_id, tenant)
        if sent is None:
            raise NoWebhook(f"job {job_id!r} has no message")
        sent.state, sent.due = "pending", self.now
        sent.message = replace(sent.message, tries=0, enqueued_at=self.now)

    def _found(self, job_id: str, tenant: str) -> _Sent | None:
        if (tenant, job_id) not in self._jobs:
            raise JobNotFound(f"no job {job_id!r}")
        return self._jobs[tenant, job_id]
