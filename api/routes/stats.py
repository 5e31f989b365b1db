"""Figures for people and scripts, as JSON."""

from fastapi import APIRouter

from api.dependencies import PlatformDep
from api.platform_schemas import CacheOut, RequestsOut, StatsOut, StatsQueueOut, UnservedOut, worker_out
from api.problems import documented
from transcription.lanes import needed
from transcription.ports import Lane

router = APIRouter(tags=["stats"])


@router.get("/stats", operation_id="get_stats", summary="Get the statistics", responses=documented(503))
async def stats(platform: PlatformDep) -> StatsOut:
    """Jobs by state, the queue, the workers, the dedup cache, and what this process has refused."""
    backlog = await platform.backlog.now()
    counted = backlog.counters
    hits = counted.get("cached", 0)
    lookups = sum(counted.get(name, 0) for name in ("new", "joined", "cached"))
    return StatsOut(
        jobs=dict(backlog.jobs),
        queue=StatsQueueOut(
            spans=backlog.pending_spans,
            audio_seconds=round(backlog.pending_audio_s, 1),
            oldest_age_s=backlog.oldest_age_s,
            running_spans=backlog.running_spans,
            unserved=[_unserved(name, lane) for name, lane in backlog.lanes.items() if lane.unserved],
        ),
        workers=[worker_out(worker) for worker in backlog.workers],
        cache=CacheOut(
            hits=hits,
            joined=counted.get("joined", 0),
            hit_ratio=round(hits / lookups, 4) if lookups else None,
        ),
        dead_letters=backlog.dead,
        counters=counted,
        requests=RequestsOut(accepted=platform.meters.accepted, rejected=platform.meters.rejected),
    )


def _unserved(name: str, lane: Lane) -> UnservedOut:
    """Recordings that no live worker can take."""
    model, needs = needed(name)
    return UnservedOut(model=model, needs=list(needs), recordings=lane.unserved)
