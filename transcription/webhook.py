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

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from transcription.result_warning import ResultWarning

PREFIX = "whsec_"
PRIVATE, PUBLIC = "whsk_", "whpk_"
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
    """The bytes of a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`. ValueError: not 24 to 64 bytes."""
    key = _decoded(secret, PREFIX)
    if not 24 <= len(key) <= 64:
        raise ValueError(f"must be {PREFIX} and 24 to 64 bytes in base64, or {PRIVATE} and an ed25519 key")
    return key


def private_key(secret: str) -> Ed25519PrivateKey:
    """The key of a secret such as `whsk_…`: its seed, with or without the public key. ValueError: it is none."""
    key = _decoded(secret, PRIVATE)
    if len(key) not in {32, 64}:
        raise ValueError(f"must be {PRIVATE} and 32 or 64 bytes of an ed25519 key in base64")
    found = Ed25519PrivateKey.from_private_bytes(key[:32])
    if key[32:] not in {b"", found.public_key().public_bytes_raw()}:
        raise ValueError(f"the second half of a {PRIVATE} key of 64 bytes must be its public key")
    return found


def check_secret(secret: str) -> None:
    """Whether *secret*, of either kind, can sign. ValueError."""
    if secret.startswith(PRIVATE):
        private_key(secret)
    else:
        signing_key(secret)


def new_private_key() -> str:
    """A new `whsk_…`."""
    return PRIVATE + base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key(secret: str) -> str:
    """What a receiver verifies with: `whpk_…`, which is no secret. ValueError: *secret* is no `whsk_…`."""
    return PUBLIC + base64.b64encode(private_key(secret).public_key().public_bytes_raw()).decode()


def signatures(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """
    The `webhook-signature` header: one signature for each secret, so that a receiver may know either.

    A `whsec_` signs with HMAC-SHA256 (`v1`), a `whsk_` with ed25519 (`v1a`).
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(secret, signed) for secret in secrets)


def _signature(secret: str, signed: bytes) -> str:
    if secret.startswith(PRIVATE):
        return f"v1a,{base64.b64encode(private_key(secret).sign(signed)).decode()}"
    return f"v1,{base64.b64encode(hmac.new(signing_key(secret), signed, hashlib.sha256).digest()).decode()}"


def _decoded(secret: str, prefix: str) -> bytes:
    """What stands behind *prefix*; nothing where it isn't base64, or *secret* begins otherwise."""
    if not secret.startswith(prefix):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except binascii.Error:
        return b""


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
