"""The ledger's totals as figures, from what its script and its server say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate
from typing import Any

import orjson

from transcription.job import Status
from transcription.ledger import backup_record
from transcription.ledger.records.values import seconds
from transcription.ledger.scripts import BOUNDS_S, pairs
from transcription.options import Priority
from transcription.ports import Backlog, Lane, Latency, Server, Waiting, WorkerInfo

LATENCIES = ("wait", "transcript")
_KNOWN_FIELDS = frozenset(field.name for field in fields(WorkerInfo))


def backlog(answer: Sequence[Any]) -> Backlog:
    """What the backlog script returns."""
    fields = pairs(answer)
    counts, latencies = pairs(fields["counts"]), _totals(fields["latencies"])
    workers = fields["workers"]
    return Backlog(
        pending_spans=fields["pending_spans"],
        pending_audio_s=fields["pending_ms"] / 1000,
        running_spans=fields["running_spans"],
        running_audio_s=fields["running_ms"] / 1000,
        oldest_age_s=seconds(fields["oldest_ms"]),
        jobs={status: int(counts.get(status.value, 0)) for status in Status},
        counters=_totals(fields["stats"]),
        workers=tuple(_worker(info, held) for info, held in zip(workers[::2], workers[1::2], strict=True)),
        dead=fields["dead"],
        messages=fields["messages"],
        messages_overdue=fields["messages_overdue"],
        waiting=dict(_waiting(fields["waiting"])),
        failures=_totals(fields["failures"]),
        warnings=_totals(fields["warnings"]),
        latencies={
            (name, priority): _latency(f"{name}:{priority.value}", latencies)
            for name in LATENCIES
            for priority in Priority
        },
        lanes=dict(_lanes(fields["lanes"])),
        used_bytes=fields["used_bytes"],
        max_bytes=fields["max_bytes"],
        writable=bool(fields["writable"]),
        revisions=pairs(fields["revisions"]),
    )


def server(info: Mapping[str, Any], backup: Mapping[Any, Any]) -> Server:
    """What the server's INFO says, and what the ledger knows of backups."""
    backup_at, backup_every_s = backup_record.read(backup)
    return Server(info=info, backup_at=backup_at, backup_every_s=backup_every_s)


def _totals(flat: list[str]) -> dict[str, int]:
    return {name: int(value) for name, value in pairs(flat).items()}


def _worker(info: str, held: int) -> WorkerInfo:
    raw = orjson.loads(info)
    # A newer version's worker may say more.
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in raw.items() if name in _KNOWN_FIELDS
    }
    return WorkerInfo(**{**known, "running": held})


def _waiting(flat: Sequence[Any]) -> Iterator[tuple[Priority, Waiting]]:
    for priority, recordings, audio_ms, oldest in zip(*(flat[start::4] for start in range(4)), strict=True):
        yield Priority(priority), Waiting(int(recordings), audio_ms / 1000, seconds(oldest))


def _lanes(flat: Sequence[Any]) -> Iterator[tuple[str, Lane]]:
    for name, workers, rate, unserved, pending in zip(*(flat[start::5] for start in range(5)), strict=True):
        yield name, Lane(int(workers), float(rate), int(unserved), int(pending))


def _latency(name: str, totals: Mapping[str, int]) -> Latency:
    counts = accumulate(totals.get(f"{name}:{bound}", 0) for bound in (*BOUNDS_S, "+Inf"))
    # Prometheus writes its bounds as floats.
    bounds = (*(f"{bound}.0" for bound in BOUNDS_S), "+Inf")
    return Latency(tuple(zip(bounds, counts, strict=True)), totals.get(f"{name}:ms", 0) / 1000)
