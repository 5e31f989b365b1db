"""Webhooks after Standard Webhooks 1.0 (standardwebhooks.com): signature, payload, and when to try again."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from transcription.result_warning import ResultWarning

PREFIX = "whsec_"
FACTOR = 4.0
JITTER = 0.2


class Verdict(StrEnum):
    """What a try came to. A receiver that answers 410 wants no more messages of this kind, ever."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """
    Word of a job's end, on its way. Times are Unix seconds of the ledger's clock.

    ``id`` is the same at every try; ``attempt`` grows with each and is the lease's token; ``tries`` and ``enqueued_at``
    count from the message's birth, or from its replay.
    """

    id: str
    job_id: str
    url: str
    status: str
    error: str | None
    at: float
    attempt: int
    tries: int
    enqueued_at: float
    now: float
    tenant: str = ""
    warnings: tuple[ResultWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try at a delivery, or a message that wasn't sent because the receiver wants no more. Unix seconds."""

    message: str
    at: float
    outcome: Verdict
    attempt: int | None = None
    status: int | None = None
    error: str | None = None
    took_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDelivery:
    """A message of a job: `pending`, or what became of it; when it is tried next."""

    id: str
    status: str
    at: float
    state: str
    attempts: int
    next_try_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLog:
    """A job's messages and the latest tries at them, the oldest first."""

    url: str | None
    messages: tuple[PendingDelivery, ...]
    tries: tuple[Try, ...]


def signing_key(secret: str) -> bytes:
    """The key of a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`. ValueError: not 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"must be {PREFIX} and 24 to 64 bytes in base64")
    return key


def signatures(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret, so that a receiver may know either."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(signing_key(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def payload(message: Message) -> bytes:
    """
    The body, the same at every try: thin, because who wants to know more asks for the job.

    A result that lacks something says so in `warnings`; a perfect one has none.
    """
    data: dict[str, Any] = {"id": message.job_id, "status": message.status}
    if message.warnings:
        data["warnings"] = [warning.shape() for warning in message.warnings]
    if message.error is not None:
        data["error"] = message.error
    moment = datetime.fromtimestamp(round(message.at, 3), UTC).isoformat(timespec="milliseconds")
    shape = {"type": f"job.{message.status}", "timestamp": moment.replace("+00:00", "Z"), "data": data}
    return json.dumps(shape, separators=(",", ":")).encode()


def verdict(status: int) -> Verdict:
    """What an HTTP status means: only 2xx is success, and a redirect is none."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.GONE if status == 410 else Verdict.FAILED


def asked_pause_s(retry_after: str, *, now: float) -> float:
    """
    How long a receiver asks to be left alone: its `Retry-After`, in seconds or as a date; 0 where that says nothing.

    Args:
        retry_after: The header.
        now: Unix seconds.
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def next_try_s(
    message: Message, *, first_s: float, longest_s: float, give_up_s: float, jitter: float, asked_s: float = 0.0
) -> float | None:
    """
    How long to wait after a failed try; None: give up.

    Args:
        message: What wasn't delivered.
        first_s: Wait after the first try; each further one is four times as long.
        longest_s: The longest wait.
        give_up_s: Age at which no further try is made.
        jitter: A number in [0, 1), so that receivers that come back aren't met by all at once.
        asked_s: How long the receiver asks to be left alone; no longer than *longest_s* counts.
    """
    wait = min(longest_s, max(asked_s, first_s * FACTOR ** (min(message.tries, 30) - 1)))
    wait = max(wait * (1 - JITTER + 2 * JITTER * jitter), min(longest_s, asked_s))
    return wait if message.now - message.enqueued_at + wait <= give_up_s else None
