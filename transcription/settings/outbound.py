"""Settings of what the platform fetches from, and sends to, addresses that clients name."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from transcription.settings.section import Part
from transcription.webhook import check_secret


def _secret(value: SecretStr) -> SecretStr:
    check_secret(value.get_secret_value())
    return value


class Outbound(Part):
    """Connections that clients cause: webhooks, and recordings that are fetched from a URL."""

    url_ingestion: bool = Field(True, description="Let clients submit a recording by its URL.")
    allow_private_addresses: bool = Field(
        False, description="Let clients' URLs lead to private addresses; only for intranets and tests."
    )
    fetch_timeout_s: float = Field(600.0, gt=0, description="Longest time to fetch one recording.")


class Webhook(Part):
    """Messages about a job's end, sent to the client's `webhook_url`."""

    secrets: tuple[Annotated[SecretStr, AfterValidator(_secret)], ...] = Field(
        (),
        description="Secrets, all of which sign: `whsec_` and base64, or `whsk_` and an ed25519 key; none: unsigned.",
    )
    timeout_s: float = Field(15.0, gt=0, description="Longest time for one delivery.")
    give_up_s: float = Field(86_400.0, gt=0, description="Time after which an undelivered message is dropped.")
