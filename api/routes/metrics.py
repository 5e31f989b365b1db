"""Metrics: Prometheus text, or a few figures as JSON for those who ask so."""

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from api.dependencies import Here, Platform
from api.metrics import LedgerFigures
from transcription.errors import LedgerUnavailable

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    response_model=None,
    responses={200: {"description": "The figures.", "content": {"text/plain": {}, "application/json": {}}}},
)
async def metrics(request: Request, here: Here) -> Response:
    """This process's figures and the ledger's. `Accept: application/json` gives requests and times only."""
    accept = request.headers.get("accept", "")
    if "application/json" in accept:
        return Response(orjson.dumps(_few(here)), media_type="application/json")
    try:
        backlog = await here.backlog.now()
    except LedgerUnavailable:
        backlog = None
    ledger = CollectorRegistry()
    ledger.register(LedgerFigures(backlog))
    encode, content_type = choose_encoder(accept)
    body = encode(here.meters.registry).removesuffix(b"# EOF\n") + encode(ledger)
    return Response(body, media_type=None, headers={"Content-Type": content_type})


def _few(here: Platform) -> dict[str, float]:
    meters = here.meters
    return {
        "total_requests": meters.accepted + meters.rejected,
        "accepted_requests": meters.accepted,
        "rejected_requests": meters.rejected,
        "avg_processing_time_ms": round(meters.mean_submit_ms, 1),
    }
