"""Whether a webhook's message is genuine, after Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ModuleNotFoundError:  # only public keys need it
    Ed25519PublicKey = None  # type: ignore[assignment,misc]

TOLERANCE_S = 300.0
_SECRET, _PUBLIC = "whsec_", "whpk_"


def verify_webhook(body: bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = TOLERANCE_S) -> bool:
    """
    Say whether the platform sent a message.

    Args:
        body: The bytes as they came, unparsed.
        headers: The request's; their names may have any case.
        secret: `whsec_…`, one of those in `MURMUR_WEBHOOK__SECRETS`, or the `whpk_…` of an asymmetric one.
        tolerance_s: Greatest age of a message; an older one may be a repetition by somebody who listened.

    Raises:
        RuntimeError: a `whpk_…` without the package `cryptography`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    sent_at = given.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > tolerance_s:
        return False
    public = secret.startswith(_PUBLIC)
    try:
        key = base64.b64decode(secret.removeprefix(_PUBLIC if public else _SECRET), validate=True)
    except binascii.Error:
        return False
    signed = f"{given.get('webhook-id', '')}.{sent_at}.".encode() + body
    signatures = given.get("webhook-signature", "").split()
    return any((_signed_by if public else _matches)(key, signed, one) for one in signatures)


def _matches(key: bytes, signed: bytes, signature: str) -> bool:
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(right.encode(), signature.encode())


def _signed_by(key: bytes, signed: bytes, signature: str) -> bool:
    if Ed25519PublicKey is None:
        raise RuntimeError("to verify with a public key: pip install cryptography")
    kind, _, text = signature.partition(",")
    if kind != "v1a":
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(text, validate=True), signed)
    except (InvalidSignature, ValueError):  # binascii's error is one
        return False
    return True
