"""The MLX service of seed 0: a file in, its text out."""

import hmac
import re
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from api.dependencies import Caller, Client, Here
from api.dialects import forms
from api.dialects.waiting import completed, submit
from api.problems import documented
from api.upload import Intake, Received

RETRY_S = "30"

_USER = re.compile(r"[\w.@-]{1,64}", re.ASCII)

router = APIRouter(prefix="/v1", tags=["seed 0"])


class TextOut(BaseModel):
    """What was said."""

    text: str = Field(examples=["Good morning, everyone."])


@router.post(
    "/transcribe",
    summary="Transcribe a file (seed 0)",
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=forms.body(
        form={"file": forms.FILE, **forms.options("model", "language", "prompt", "temperature")}, required="file"
    ),
)
async def transcribe(request: Request, here: Here, caller: Caller) -> TextOut:
    """Answer with the text when it is there. A platform that is busy says 503 and `Retry-After: 30`."""
    tenant = _tenant(request, here.settings.api.rapidapi_secret, caller)
    ttl_s = here.settings.api.sync_ttl_s

    def options(received: Received) -> dict[str, object]:
        return {"ttl_s": ttl_s, **received.fields}

    job = await completed(request, here, await submit(request, here, tenant=tenant, intake=Intake(options=options)))
    return TextOut(text=(await here.jobs.transcript(job)).text)


def busy(_state: Mapping[str, Any], problem: dict[str, Any], headers: MutableHeaders) -> None:
    """Leave errors as they are, but for the pause that this dialect's clients expect of a 503."""
    if problem["status"] == 503:
        headers["retry-after"] = RETRY_S


def _tenant(request: Request, secret: SecretStr | None, caller: Client) -> str:
    """
    Who pays: the marketplace's user, where the marketplace proves itself with its secret; else the caller.

    The user's name is logged either way. HTTPException: a secret is set, and the request hasn't got it.
    """
    said = request.headers.get("x-rapidapi-user", "")
    user = said if _USER.fullmatch(said) else None
    if user:
        structlog.contextvars.bind_contextvars(rapidapi_user=user)
    if secret is None:
        return caller.tenant
    proof = request.headers.get("x-rapidapi-proxy-secret", "")
    if not hmac.compare_digest(proof.encode(), secret.get_secret_value().encode()):
        raise HTTPException(401, "X-RapidAPI-Proxy-Secret isn't the one that is set (MURMUR_API__RAPIDAPI_SECRET)")
    return f"rapidapi:{user}" if user else caller.tenant
