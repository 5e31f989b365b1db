"""The MLX MVP: a file in, its text out."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders

from api.dependencies import Caller, PlatformDep, Principal, act_as
from api.dialects import forms
from api.dialects.waiting import submit, transcribed
from api.problems import documented
from api.uploads.receive import RequestFormat
from transcription.errors import Unauthorized
from transcription.settings import Settings

RETRY_S = "30"

_USER = re.compile(r"[\w.@-]{1,64}", re.ASCII)

router = APIRouter(prefix="/v1", tags=["mlx mvp"])


class MlxMvpText(BaseModel):
    """What was said."""

    text: str = Field(examples=["Good morning, everyone."])


@router.post(
    "/transcribe",
    operation_id="mlx_mvp_transcribe",
    summary="Transcribe a file (MLX MVP)",
    responses=documented(400, 401, 403, 408, 409, 410, 413, 415, 422, 429, 503, 504),
    openapi_extra=forms.body(
        "MlxMvp",
        form={"file": forms.FILE, **forms.options("model", "language", "prompt", "temperature")},
        required="file",
    ),
)
async def transcribe(request: Request, platform: PlatformDep, caller: Caller) -> MlxMvpText:
    """Answer with the text when it is there. A platform that is busy says 503 and `Retry-After: 30`."""
    customer = _customer(request, platform.settings, caller)
    request_format = RequestFormat(ttl_s=platform.settings.api.sync_ttl_s)
    job = await submit(request, platform, tenant=customer.tenant, request_format=request_format)
    _, transcript = await transcribed(request, platform, job)
    return MlxMvpText(text=transcript.text)


def busy(_state: Mapping[str, Any], problem: dict[str, Any], headers: MutableHeaders) -> None:
    """Leave errors as they are, but for the pause that this dialect's clients expect of a 503."""
    if problem["status"] == 503:
        headers["retry-after"] = RETRY_S


def _customer(request: Request, settings: Settings, caller: Principal) -> Principal:
    """
    Who pays: the marketplace's user, where the marketplace proves itself with its secret; else the caller.

    The user has quotas of his own, in the tier that is named like his subscription. His name is logged either way.

    Raises:
        Unauthorized: a secret is set, and the request hasn't got it.
    """
    name = request.headers.get("x-rapidapi-user", "")
    user = name if _USER.fullmatch(name) else None
    if user:
        structlog.contextvars.bind_contextvars(rapidapi_user=user)
    secret = settings.api.rapidapi_secret
    if secret is None:
        return caller
    proof = request.headers.get("x-rapidapi-proxy-secret", "")
    if not hmac.compare_digest(proof.encode(), secret.get_secret_value().encode()):
        raise Unauthorized("X-RapidAPI-Proxy-Secret isn't the one that is set (MURMUR_API__RAPIDAPI_SECRET)")
    if user is None:
        return caller
    plan = request.headers.get("x-rapidapi-subscription", "").lower()
    tier = plan if plan in settings.security.tiers else caller.tier
    customer = replace(caller, tenant=f"rapidapi:{user}", key_id=f"rapidapi:{user}", tier=tier)
    act_as(request, customer)
    return customer
