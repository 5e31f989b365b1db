"""Health: for people, for an orchestrator, for load balancers."""

import math
from typing import Any

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api import COMMIT, VERSION
from api.dependencies import Platform, PlatformDep
from api.jobs.backpressure import ledger_full
from api.platform_schemas import AliveOut, QueueHealthOut, WaitingOut, worker_out
from api.problems import documented
from transcription.errors import LedgerUnavailable, QueueFull, Unavailable
from transcription.ports import Backlog

router = APIRouter(tags=["health"])

_COARSE_S = 3600
_OTHER_HOST: dict[int | str, dict[str, Any]] = {
    400: {
        "description": "The request names a host that this API doesn't go by (MURMUR_API__TRUSTED_HOSTS).",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


class RefusalOut(BaseModel):
    """Why no job is accepted at the moment."""

    code: str = Field(examples=["disk_full"])
    message: str


class HealthOut(BaseModel):
    """How the platform is."""

    status: str = Field(
        description="`ok` (a setting), `degraded` without workers or while no job is accepted, else `unavailable`."
    )
    memory_percent: float = Field(examples=[41.3])
    active_tasks: int = Field(description="Spans being processed.")
    ledger: bool
    workers: int
    queued_audio_s: float = Field(description="Audio that waits; in whole hours where API keys are required.")
    version: str
    commit: str = Field(description="The commit that the API was built from; `unknown` where nothing says so.")
    refusal: RefusalOut | None = Field(
        None, description="The error that a submit would get now; absent: it is accepted."
    )


class ReadyOut(BaseModel):
    """Whether a job that is submitted now would be accepted and worked on."""

    status: str
    ledger: bool
    ledger_full: bool = Field(description="So little of its memory is left that no further job is accepted.")
    workers: int
    refusal: RefusalOut | None = Field(
        None, description="The error that a submit would get now; absent: it is accepted."
    )


@router.get(
    "/health",
    operation_id="get_health",
    summary="Get the platform's health",
    response_model=HealthOut,
    responses={**_OTHER_HOST, 503: {"model": HealthOut, "description": "The ledger can't be reached."}},
)
async def health(platform: PlatformDep) -> Response:
    """How the platform is, at a glance; 503 while the ledger can't be reached."""
    backlog = await _backlog(platform)
    workers = len(backlog.workers) if backlog else 0
    refusal = await _refusal(platform)
    shape = {
        "status": _word(platform, backlog, refusal),
        "memory_percent": round((await platform.machine.read()).memory_percent, 1),
        "active_tasks": backlog.running_spans if backlog else 0,
        "ledger": backlog is not None,
        "workers": workers,
        "queued_audio_s": _queued_s(platform, backlog) if backlog else 0.0,
        **({"refusal": _public_refusal(platform, refusal)} if refusal else {}),
        "version": VERSION,
        "commit": COMMIT,
    }
    return _json(shape, 200 if backlog else 503)


@router.get(
    "/health/live", operation_id="get_liveness", summary="Check that the process is alive", responses=_OTHER_HOST
)
async def live() -> AliveOut:
    """The process answers. It looks at nothing else: restarting it wouldn't mend the ledger."""
    return AliveOut()


@router.get(
    "/health/ready",
    operation_id="get_readiness",
    summary="Check that jobs are accepted and processed",
    response_model=ReadyOut,
    responses={**_OTHER_HOST, 503: {"model": ReadyOut, "description": "They aren't."}},
)
async def ready(platform: PlatformDep) -> Response:
    """
    200 when the ledger answers, a worker lives that claims, and a submit would be taken, else 503.

    A queue that is full alone is no reason: whoever waits for a result still has to be served.
    """
    backlog = await _backlog(platform)
    workers = sum(worker.fit for worker in backlog.workers) if backlog else 0
    full = backlog is not None and ledger_full(backlog, platform.settings.limits)
    refusal = await _refusal(platform)
    fit = backlog is not None and workers > 0 and not full and (refusal is None or refusal["code"] == QueueFull.code)
    shape = {
        "status": "ready" if fit else "not ready",
        "ledger": backlog is not None,
        "ledger_full": full,
        "workers": workers,
        **({"refusal": _public_refusal(platform, refusal)} if refusal else {}),
    }
    return _json(shape, 200 if fit else 503)


@router.get(
    "/health/async", operation_id="get_queue_health", summary="Get the queue and the workers", responses=documented(503)
)
async def asynchronous(platform: PlatformDep) -> QueueHealthOut:
    """The queue and the workers behind it."""
    backlog = await platform.backlog.now()
    return QueueHealthOut(
        status=_word(platform, backlog, await _refusal(platform)),
        ledger=True,
        queue=WaitingOut(
            spans=backlog.pending_spans,
            audio_seconds=round(backlog.pending_audio_s, 1),
            oldest_age_s=backlog.oldest_age_s,
        ),
        running_spans=backlog.running_spans,
        workers=[worker_out(worker) for worker in backlog.workers],
    )


async def _backlog(platform: Platform) -> Backlog | None:
    try:
        return await platform.backlog.now()
    except LedgerUnavailable:
        return None


async def _refusal(platform: Platform) -> dict[str, str] | None:
    """What a submit of a small recording would meet before its body is read."""
    try:
        await platform.submissions.backpressure.check(coming_bytes=0)
    except Unavailable as error:
        return {"code": error.code, "message": error.message}
    return None


def _queued_s(platform: Platform, backlog: Backlog) -> float:
    """Audio that waits; whoever has no key, where one is needed, learns from it no recording's length."""
    if platform.settings.security.require_keys:
        return float(math.ceil(backlog.pending_audio_s / _COARSE_S) * _COARSE_S)
    return round(backlog.pending_audio_s, 1)


def _public_refusal(platform: Platform, refusal: dict[str, str]) -> dict[str, str]:
    """A refusal as anybody may hear it: where keys are needed, without its figures."""
    if platform.settings.security.require_keys:
        return {"code": refusal["code"], "message": "no job is accepted at the moment"}
    return refusal


def _word(platform: Platform, backlog: Backlog | None, refusal: dict[str, str] | None) -> str:
    if backlog is None:
        return "unavailable"
    fit = refusal is None and any(worker.fit for worker in backlog.workers)
    return platform.settings.api.health_status if fit else "degraded"


def _json(shape: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(shape), status, media_type="application/json")
