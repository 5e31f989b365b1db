"""
The events of a job, out of the ledger.

A computation's stream holds its moves and which windows were written. One entry can be several events, so that an
event's id is the entry's with a number behind it: `1763680000000-0.2`. What an entry comes to never changes, and
that is why a client can go on after any id with nothing lost or doubled. A job that left its computation early
has ended on its own account: the ids of these events begin with `end`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from transcription.errors import (
    DeadlineExceeded,
    JobCanceled,
    JobExpired,
    JobNotFound,
    MalformedRequest,
)
from transcription.job import Failure, Job, Progress, Status
from transcription.ledger import records
from transcription.ledger.archive import ArchiveReader
from transcription.ledger.change_feed import Watch
from transcription.ledger.connections import translated
from transcription.ledger.scripts import Scripts, pairs
from transcription.ports import Event, ResultStore
from transcription.settings import Settings

ENTRIES = 100
OWN_END = "end"
_ID = re.compile(r"(\d{1,19}-\d{1,19}|end)\.(\d{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One look at the ledger: new events, where to go on, and whether that was all there is, or ever will be."""

    events: list[Event] = field(default_factory=list)
    entry: str = ""
    whole: bool = True
    ended: bool = False


class RedisEvents:
    """An EventLog on Redis; its waiters share the one connection of *watch*."""

    def __init__(self, client: Redis, settings: Settings, watch: Watch, results: ResultStore | None = None) -> None:
        self._scripts = Scripts(client, audit_length=settings.ledger.audit_length)
        self._archives = ArchiveReader(results, self._scripts)
        self._watch = watch

    async def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """Yield what happened after *after*, and what happens: see EventLog."""
        entry, seen = _parse(after)
        loop = asyncio.get_running_loop()
        sent_at = float("-inf")
        whole = True

        def longest_s() -> float:
            return max(0.0, sent_at + quiet_s - loop.time()) if whole else 0.0

        checks = self._watch.checks(job.computation, lambda: self._read(job, entry, seen), longest_s=longest_s)
        async with aclosing(checks) as batches:
            async for found in batches:
                batch = found or _Batch()
                for event in batch.events:
                    yield event
                    sent_at = loop.time()
                if batch.ended:
                    return
                if batch.entry:
                    entry, seen = f"({batch.entry}", -1
                whole = batch.whole
                if whole and loop.time() - sent_at >= quiet_s:
                    yield None
                    sent_at = loop.time()

    async def _read(self, job: Job, entry: str, seen: int) -> _Batch:
        start = "-" if entry == OWN_END else entry
        with translated():
            found = await self._scripts.call("events", job.id, job.tenant, start, ENTRIES)
        if not found:
            return _ended_early(JobNotFound(f"job {job.id!r} was deleted"), None, seen)
        job_hash, comp, further, last, *rows = found
        if "archived" in pairs(comp):
            last, rows = await self._archived(job.computation, start)
        if further and entry == OWN_END:
            rows = []  # all of the stream was told before the end
        now = records.job(pairs(job_hash), pairs(comp), None, list(map(pairs, further)))
        if now.status is Status.CANCELED:
            return _ended_early(
                JobCanceled(f"job {job.id!r} was canceled"), now.status, seen if entry == OWN_END else -1
            )
        if "failed" in pairs(job_hash) and now.failure is not None:
            late = DeadlineExceeded(now.failure.message)
            return _ended_early(late, now.status, seen if entry == OWN_END else -1)
        if now.status is Status.EXPIRED:
            return _ended_early(JobExpired.of(job.id), now.status, -1)
        events = []
        for row_id, fields, segments in rows:
            batch = list(_expand(row_id, pairs(fields), segments, now, last=row_id == last))
            # Only the first entry can have been told in part.
            skip = seen + 1 if row_id == entry else 0
            events += [event for event in batch if _number(event) >= skip]
        whole = not rows or rows[-1][0] == last
        if further and whole and now.status.terminal:
            # The stream is the transcript's alone, and this job ends when it is known who speaks.
            ends = [Event(f"{OWN_END}.0", "status", {"status": now.status.value}), *_end(OWN_END, now)]
            events += [event for event in ends if entry != OWN_END or _number(event) > seen]
        return _Batch(events, rows[-1][0] if rows else "", whole, whole and now.status.terminal)

    async def _archived(self, computation: str, start: str) -> tuple[str, list[Any]]:
        """The last entry's id, and all entries from *start* on, of a computation that has left the ledger."""
        archive = await self._archives.read(computation)
        least, above = _entry(start.removeprefix("(")), start.startswith("(")
        rows = [
            [entry, [part for pair in fields.items() for part in pair], archive.window(fields)]
            for entry, fields in archive.events
            if _entry(entry) > least or (not above and _entry(entry) == least)
        ]
        return archive.events[-1][0] if archive.events else "", rows


def _entry(name: str) -> tuple[int, int]:
    """A stream's id as it is ordered."""
    ms, _, number = name.partition("-")
    return (int(ms), int(number)) if ms else (0, 0)


def _parse(after: str | None) -> tuple[str, int]:
    if not after:
        return "-", -1
    match = _ID.fullmatch(after)
    if match is None:
        raise MalformedRequest(f"Last-Event-ID {after[:80]!r} isn't the id of an event that this platform sent")
    return match[1], int(match[2])


def _number(event: Event) -> int:
    return int(event.id.rpartition(".")[2])


def _ended_early(
    why: JobNotFound | JobCanceled | JobExpired | DeadlineExceeded, status: Status | None, seen: int
) -> _Batch:
    """The end of a job that is no longer on its computation."""
    events = list(_failed(OWN_END, Failure(code=why.code, message=why.message)))
    if status is not None:
        events.insert(0, Event(f"{OWN_END}.0", "status", {"status": status.value}))
    return _Batch([event for event in events if _number(event) > seen], ended=True)


def _expand(entry: str, fields: dict[str, str], segments: str, job: Job, *, last: bool) -> Iterator[Event]:
    """What an entry of the stream comes to. The end is told only by the *last* one: an operator may retry a failure."""
    if fields["kind"] == "status":
        status = Status(fields["status"])
        if job.diarization and status.terminal:
            return
        yield Event(f"{entry}.0", "status", {"status": status.value})
        if last and status.terminal and status is job.status:
            yield from _end(entry, job)
        return
    if fields["kind"] == "warning":
        for number, warning in enumerate(records.warnings(fields["warnings"])):
            yield Event(f"{entry}.{number}", "warning", warning.shape())
        return
    written = orjson.loads(segments) if segments else []
    for number, raw in enumerate(written):
        yield Event(f"{entry}.{number}", "segment", _segment(raw, int(fields["span"])))
    if "done" not in fields:
        return  # an entry of schema version 1, which didn't say how far the work was
    progress = Progress(
        audio_seconds_done=records.seconds(fields["done"]) or 0.0,
        audio_seconds_total=records.seconds(fields["duration"]) or 0.0,
    )
    shape = {
        "fraction": round(progress.fraction, 4),
        "audio_seconds_done": progress.audio_seconds_done,
        "audio_seconds_total": progress.audio_seconds_total,
    }
    yield Event(f"{entry}.{len(written)}", "progress", shape)


def _end(entry: str, job: Job) -> Iterator[Event]:
    if job.failure is not None:
        yield from _failed(entry, job.failure)
        return
    shape = {
        "status": job.status.value,
        "language": job.language,
        "duration": round(job.audio.duration_s, 3),
        "warnings": [warning.shape() for warning in job.warnings],
    }
    yield Event(f"{entry}.1", "done", shape)


def _failed(entry: str, failure: Failure) -> Iterator[Event]:
    """Why there is no transcript; first under its old name, which EventSource takes for a broken connection."""
    shape = {"code": failure.code, "message": failure.message, "retryable": failure.retryable}
    yield Event(f"{entry}.1", "error", shape)
    yield Event(f"{entry}.2", "failed", shape)


def _segment(raw: dict[str, Any], span: int) -> dict[str, Any]:
    """A segment without the model's tokens; ``words`` only where they were asked for."""
    shape = {name: value for name, value in raw.items() if name != "tokens" and value is not None}
    # An older worker, or a ledger of an earlier version, has `doubtful` alone; clients get both names for one version.
    shape["low_confidence"] = shape["doubtful"] = shape.get("low_confidence", shape.get("doubtful", False))
    return {"span": span, **shape}
