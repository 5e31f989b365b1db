"""Webhooks of a job: what was sent, what came of it, and once more."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.dependencies import Caller, JobId, NotificationsDep
from api.problems import documented
from api.schemas import rfc3339
from transcription.webhook import DeliveryLog, Verdict

router = APIRouter(prefix="/v1/jobs", tags=["webhooks"])


class MessageOut(BaseModel):
    """Word of the job's end."""

    id: str = Field(description="The `webhook-id` header, the same at every try.")
    type: str = Field(examples=["job.completed"])
    timestamp: datetime
    state: str = Field(description="`pending`, `delivered`, `failed` (given up) or `gone` (410).")
    attempts: int
    next_try_at: datetime | None = Field(description="Null when no further try will be made.")


class TryOut(BaseModel):
    """A try at a delivery."""

    message: str
    at: datetime
    attempt: int | None = Field(description="Null where the receiver had answered 410 before, and nothing was sent.")
    outcome: Verdict
    status: int | None = Field(description="The receiver's HTTP status; null where there was no answer.")
    error: str | None
    took_s: float | None


class WebhooksOut(BaseModel):
    """A job's messages, and the latest fifty tries at them, the oldest first."""

    url: str | None
    messages: list[MessageOut]
    tries: list[TryOut]


@router.get(
    "/{job_id}/webhooks",
    operation_id="get_webhook_log",
    summary="List a job's webhook deliveries",
    responses=documented(404, 503),
)
async def delivery_log(notifications: NotificationsDep, caller: Caller, job_id: JobId) -> WebhooksOut:
    """What was sent to the job's `webhook_url`, and what came of it."""
    return _out(await notifications.outbox.log(job_id, tenant=caller.tenant))


@router.post(
    "/{job_id}/webhooks/replay",
    operation_id="replay_webhook",
    summary="Send a job's webhook again",
    status_code=202,
    responses=documented(404, 409, 503),
)
async def replay(notifications: NotificationsDep, caller: Caller, job_id: JobId) -> WebhooksOut:
    """Send the job's last message again, under the same `webhook-id`, even to a receiver that answered 410."""
    await notifications.outbox.replay(job_id, tenant=caller.tenant)
    return _out(await notifications.outbox.log(job_id, tenant=caller.tenant))


def _out(log: DeliveryLog) -> WebhooksOut:
    return WebhooksOut(
        url=log.url,
        messages=[
            MessageOut(
                id=message.id,
                type=f"job.{message.status}",
                timestamp=rfc3339(message.at),
                state=message.state,
                attempts=message.attempts,
                next_try_at=None if message.next_try_at is None else rfc3339(message.next_try_at),
            )
            for message in log.messages
        ],
        tries=[
            TryOut(
                message=one.message,
                at=rfc3339(one.at),
                attempt=one.attempt,
                outcome=one.outcome,
                status=one.status,
                error=one.error,
                took_s=one.took_s,
            )
            for one in log.tries
        ],
    )
