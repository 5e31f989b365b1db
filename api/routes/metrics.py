"""Metrics: Prometheus text, or a few figures as JSON for those who ask so."""

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field

from api.dependencies import Platform, PlatformDep
from api.metrics.ledger import LedgerFigures
from api.problems import documented
from api.transcript_schemas import TEXT
from transcription.errors import LedgerUnavailable
from transcription.observability.old_metric_names import with_old_names

router = APIRouter(tags=["metrics"])


class TargetsOut(BaseModel):
    """Addresses that Prometheus scrapes alike."""

    targets: list[str] = Field(examples=[["192.168.1.20:9464"]])


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Scrape this process",
    response_model=None,
    responses={
        200: {
            "description": "The figures.",
            "content": {"text/plain": TEXT, "application/json": {"schema": {"type": "object"}}},
        },
        **documented(),
    },
)
async def metrics(request: Request, platform: PlatformDep) -> Response:
    """This process's figures: scrape every replica. `Accept: application/json` gives requests and times only."""
    accept = request.headers.get("accept", "")
    if "application/json" in accept or (accept in ("", "*/*") and platform.settings.api.metrics_format == "json"):
        return Response(orjson.dumps(_few(platform)), media_type="application/json")
    seen = await platform.machine.read()
    platform.meters.machine(memory_percent=seen.memory_percent, disk_free=seen.free_bytes, disk=seen.disk_bytes)
    return _text(request, platform.meters.whole())


@router.get(
    "/metrics/ledger",
    operation_id="get_ledger_metrics",
    summary="Scrape the whole platform",
    response_class=Response,
    response_model=None,
    responses={200: {"description": "The figures.", "content": {"text/plain": TEXT}}, **documented()},
)
async def ledger(request: Request, platform: PlatformDep) -> Response:
    """The whole platform's figures, from the ledger: every replica says the same, so scrape one of them."""
    try:
        backlog, server = await platform.backlog.now(), await platform.jobs.server()
    except LedgerUnavailable:
        backlog, server = None, None
    registry = CollectorRegistry()
    registry.register(LedgerFigures(backlog, server))
    return _text(request, with_old_names(registry))


@router.get(
    "/metrics/targets",
    operation_id="get_metrics_targets",
    summary="Name workers to Prometheus",
    responses=documented(),
)
async def targets(platform: PlatformDep) -> list[TargetsOut]:
    """Live workers that told where their metrics are, as Prometheus' `http_sd_configs` reads them."""
    backlog = await platform.backlog.now()
    return [TargetsOut(targets=[worker.metrics]) for worker in backlog.workers if worker.metrics]


def _text(request: Request, registry: CollectorRegistry) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"Content-Type": content_type})


def _few(platform: Platform) -> dict[str, float]:
    meters = platform.meters
    return {
        "total_requests": meters.accepted + meters.rejected,
        "accepted_requests": meters.accepted,
        "rejected_requests": meters.rejected,
        "avg_processing_time_ms": round(meters.mean_submit_ms, 1),
    }
