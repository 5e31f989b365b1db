"""The secrets that sign a tenant's webhooks: make, list, delete."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.dependencies import Caller, NotificationsDep, PlatformDep, Principal
from api.problems import documented
from api.schemas import rfc3339
from transcription.access import Scope
from transcription.errors import Forbidden, WebhookSecretNotFound
from transcription.ledger.tenants.webhook_secrets import WebhookSecret
from transcription.settings import Settings

router = APIRouter(prefix="/v1/webhook-secrets", tags=["webhooks"])


class SecretOut(BaseModel):
    """A secret, without itself."""

    id: str
    created_at: datetime
    public_key: str | None = Field(
        None,
        description="What verifies `v1a` signatures; no secret.",
        examples=["whpk_11qYAYKx…"],
    )


class NewSecretOut(SecretOut):
    """A new secret: this is the only time that it is shown."""

    secret: str | None = Field(
        None, description="What verifies `v1` signatures; none where `public_key` does.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )  # fmt: skip


class SecretsOut(BaseModel):
    """The tenant's secrets, the oldest first. While there is none, the platform's own sign."""

    secrets: list[SecretOut]


@router.post(
    "",
    operation_id="create_webhook_secret",
    summary="Create a webhook secret",
    status_code=201,
    responses=documented(403, 422, 429, 503),
)
async def create(
    *,
    request: Request,
    platform: PlatformDep,
    notifications: NotificationsDep,
    caller: Caller,
    signature: Annotated[
        Literal["v1", "v1a"],
        Query(
            description="`v1`: HMAC-SHA256 with a secret that both know; `v1a`: ed25519, whose private key stays here."
        ),
    ] = "v1",
) -> NewSecretOut:
    """From now on it signs every message of the tenant, beside those that there are: so receivers can change over."""
    _check(platform.settings, caller)
    made, secret = await notifications.secrets.create(caller.tenant, pair=signature == "v1a")
    await request.app.state.policy.log.write("webhook secret made", secret=made.id)
    return NewSecretOut(**_out(made).model_dump(), secret=None if made.public_key else secret)


@router.get("", operation_id="list_webhook_secrets", summary="List webhook secrets", responses=documented(503))
async def listed(request: Request, notifications: NotificationsDep, caller: Caller) -> SecretsOut:
    """Their ids, ages and public keys."""
    found = await notifications.secrets.kept(caller.tenant)
    await request.app.state.policy.log.write("list webhook secrets", secrets=len(found))
    return SecretsOut(secrets=[_out(one) for one in found])


@router.delete(
    "/{secret_id}",
    operation_id="delete_webhook_secret",
    summary="Delete a webhook secret",
    status_code=204,
    responses=documented(403, 404, 503),
)
async def delete(
    request: Request,
    platform: PlatformDep,
    notifications: NotificationsDep,
    caller: Caller,
    secret_id: Annotated[str, Path(description="The secret's `id`.")],
) -> None:
    """It signs no more."""
    _check(platform.settings, caller)
    if not await notifications.secrets.delete(caller.tenant, secret_id):
        raise WebhookSecretNotFound(f"no webhook secret {secret_id[:64]!r}")
    await request.app.state.policy.log.write("webhook secret deleted", secret=secret_id)


def _check(settings: Settings, caller: Principal) -> None:
    if settings.security.require_keys and not caller.may(Scope.ADMIN):
        raise Forbidden("webhook secrets are for a tenant's admins")


def _out(one: WebhookSecret) -> SecretOut:
    return SecretOut(id=one.id, created_at=rfc3339(one.created_at), public_key=one.public_key)
