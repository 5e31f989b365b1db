"""Figures for people and scripts, as JSON."""

from typing import Any

from fastapi import APIRouter

from api.dependencies import PlatformDep
from api.problems import documented
from api.schemas import worker_out
from transcription.lanes import needed
from transcription.ports import Lane

router = APIRouter(tags=["stats"])


@router.get("/stats", responses=documented(503))
async def stats(platform: PlatformDep) -> dict[str, Any]:
    """Jobs by state, the queue, the workers, the dedup cache, and what this process has refused."""
    backlog = await platform.backlog.now()
    counted = backlog.counters
    hits = counted.get("cached", 0)
    lookups = sum(counted.get(name, 0) for name in ("new", "joined", "cached"))
    return {
        "jobs": {status.value: count for status, count in backlog.jobs.items()},
        "queue": {
            "spans": backlog.pending_spans,
            "audio_seconds": round(backlog.pending_audio_s, 1),
            "oldest_age_s": backlog.oldest_age_s,
            "running_spans": backlog.running_spans,
            "unserved": [_unserved(name, lane) for name, lane in backlog.lanes.items() if lane.unserved],
        },
        "workers": [worker_out(worker) for worker in backlog.workers],
        "cache": {
            "hits": hits,
            "joined": counted.get("joined", 0),
            "hit_ratio": round(hits / lookups, 4) if lookups else None,
        },
        "dead_letters": backlog.dead,
        "counters": counted,
        "requests": {"accepted": platform.meters.accepted, "rejected": platform.meters.rejected},
    }


def _unserved(name: str, lane: Lane) -> dict[str, Any]:
    """Recordings that no live worker can take."""
    model, needs = needed(name)
    return {"model": model, "needs": needs, "recordings": lane.unserved}
