"""Whether a webhook's message is genuine, after Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

TOLERANCE_S = 300.0


def verify_webhook(body: bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = TOLERANCE_S) -> bool:
    """
    Say whether the platform sent a message.

    Args:
        body: The bytes as they came, unparsed.
        headers: The request's; their names may have any case.
        secret: `whsec_…`, one of those in `MURMUR_WEBHOOK__SECRETS`.
        tolerance_s: Greatest age of a message; an older one may be a repetition by somebody who listened.
    """
    given = {name.lower(): value for name, value in headers.items()}
    sent_at = given.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > tolerance_s:
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    signed = f"{given.get('webhook-id', '')}.{sent_at}.".encode() + body
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    signatures = given.get("webhook-signature", "").split()
    return any(hmac.compare_digest(right.encode(), one.encode()) for one in signatures)
