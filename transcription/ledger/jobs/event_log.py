"""
The events of a job, out of the ledger.

A computation's stream holds its moves and which windows were written. One entry can be several events, so that an
event's id is the entry's with a number behind it: `1763680000000-0.2`. What an entry comes to never changes, and
that is why a client can go on after any id with nothing lost or doubled. Where each channel is a computation, an id
names the last entry of each of their streams, and which of them it is of: `1763680000000-0_1763680000007-0@1.2`. A job
that left its computation early, or waits for several, ends on its own account: those events' ids begin with `end`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from transcription.channels import Channel
from transcription.errors import (
    DeadlineExceeded,
    JobCanceled,
    JobExpired,
    JobNotFound,
    MalformedRequest,
)
from transcription.job import Failure, Job, Progress, Status
from transcription.ledger.archive import ArchiveReader
from transcription.ledger.connections.errors import translated
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.records import jobs as job_records
from transcription.ledger.records import values
from transcription.ledger.scripts import Scripts, pairs
from transcription.ports import Event, ResultStore
from transcription.result_warning import WarningCode
from transcription.settings import Settings

ENTRIES = 100
OWN_END = "end"
NOTHING = "0-0"
"""Before a stream's first entry."""

_ID = re.compile(r"((?:\d{1,19}-\d{1,19}_)*\d{1,19}-\d{1,19}|end)(?:@(\d{1,3}))?\.(\d{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One look at the ledger: new events, where to go on, and whether that was all there is, or ever will be."""

    events: list[Event] = field(default_factory=list)
    mark: "_Mark | None" = None
    whole: bool = True
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    """
    How far a client is: the last entry that it was told of each of the job's streams, one for each channel.

    Of the entry of the stream ``at`` it was told the events up to number ``seen``, of the others all. ``ended``: it was
    told events of the end.
    """

    told: tuple[str, ...]
    at: int = 0
    seen: int = -1
    ended: bool = False

    def starts(self) -> list[str]:
        """Where to go on in each stream, as the script takes it."""
        whole = [NOTHING if entry == NOTHING else f"({entry}" for entry in self.told]
        if self.seen >= 0 and not self.ended:
            whole[self.at] = self.told[self.at]
        return ["-" if entry == NOTHING else entry for entry in whole]

    def begun(self, channel: int, entry: str) -> bool:
        """Whether the client was told a part of an entry."""
        return self.seen >= 0 and not self.ended and (channel, entry) == (self.at, self.told[self.at])

    def after(self, channel: int, entry: str) -> "_Mark":
        """Where a client is to whom this entry is told as well."""
        return _Mark((*self.told[:channel], entry, *self.told[channel + 1 :]), channel)

    @property
    def name(self) -> str:
        """What the ids of events begin with that the last entry comes to."""
        return self.told[0] if len(self.told) == 1 else f"{'_'.join(self.told)}@{self.at}"


class RedisEvents:
    """An EventLog on Redis; its waiters share the one connection of *watch*."""

    def __init__(self, client: Redis, settings: Settings, watch: Watch, results: ResultStore | None = None) -> None:
        self._scripts = Scripts(client, audit_length=settings.ledger.audit_length)
        self._archives = ArchiveReader(results, self._scripts)
        self._watch = watch

    async def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """Yield what happened after *after*, and what happens: see EventLog."""
        mark = _parse(after, streams=len(job.computations))
        loop = asyncio.get_running_loop()
        sent_at = float("-inf")
        whole = True

        def longest_s() -> float:
            return max(0.0, sent_at + quiet_s - loop.time()) if whole else 0.0

        checks = self._watch.checks(job.computations, lambda: self._read(job, mark), longest_s=longest_s)
        async with aclosing(checks) as batches:
            async for found in batches:
                batch = found or _Batch()
                for event in batch.events:
                    yield event
                    sent_at = loop.time()
                if batch.ended:
                    return
                mark = batch.mark or mark
                whole = batch.whole
                if whole and loop.time() - sent_at >= quiet_s:
                    yield None
                    sent_at = loop.time()

    async def _read(self, job: Job, mark: _Mark) -> _Batch:
        with translated():
            found = await self._scripts.call("events", job.id, job.tenant, ENTRIES, *mark.starts())
        seen = mark.seen if mark.ended else -1
        if not found:
            return _ended_early(JobNotFound(f"job {job.id!r} was deleted"), None, mark.seen)
        job_hash, comp, further, lasts, *rows = found
        for channel, (computation, one) in enumerate(zip(job.computations, [comp, *further], strict=False)):
            if "archived" in pairs(one):
                lasts[channel], entries = await self._archived(computation, mark.starts()[channel])
                rows += [[channel, *entry] for entry in entries]
        now = job_records.job(pairs(job_hash), pairs(comp), None, list(map(pairs, further)))
        if now.status is Status.CANCELED:
            return _ended_early(JobCanceled(f"job {job.id!r} was canceled"), now.status, seen)
        if "failed" in pairs(job_hash) and now.failure is not None:
            return _ended_early(DeadlineExceeded(now.failure.message), now.status, seen)
        if now.status is Status.EXPIRED:
            return _ended_early(JobExpired.of(job.id), now.status, -1)
        if mark.ended and _ends_by_itself(now):
            rows = []  # all of the streams was told before the end
        events, last_read = [], mark
        for channel, entry, fields, segments in sorted(rows, key=lambda row: _order(mark, *row[:2])):
            last_read = last_read.after(channel, entry)
            is_last = entry == lasts[channel]
            batch = list(_expand(last_read.name, pairs(fields), segments, now, channel=channel, last=is_last))
            skip = mark.seen + 1 if mark.begun(channel, entry) else 0
            events += [event for event in batch if _number(event) >= skip]
        read = {channel: entry for channel, entry, *_ in rows}
        whole = all(entry == lasts[channel] for channel, entry in read.items())
        if _ends_by_itself(now) and whole and now.status.terminal:
            ends = [Event(f"{OWN_END}.0", "status", {"status": now.status.value}), *_end(OWN_END, now)]
            events += [event for event in ends if _number(event) > seen]
        return _Batch(events, last_read if rows else None, whole, whole and now.status.terminal)

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


def _ends_by_itself(job: Job) -> bool:
    """Whether the job ends with several computations, and so not with an entry of a stream."""
    return job.diarization is not None or len(job.computations) > 1


def _order(mark: _Mark, channel: int, entry: str) -> tuple[bool, tuple[int, ...], int]:
    """By time; but what the client was told in part comes first, because the ids of all others say that it was told."""
    return not mark.begun(channel, entry), tuple(map(int, entry.split("-"))), channel


def _parse(after: str | None, *, streams: int) -> _Mark:
    nothing = (NOTHING,) * streams
    if not after:
        return _Mark(nothing)
    match = _ID.fullmatch(after)
    if match is None:
        raise _unknown(after)
    entries, at, number = match[1], int(match[2] or 0), int(match[3])
    if entries == OWN_END:
        return _Mark(nothing, 0, number, ended=True)
    told = tuple(entries.split("_"))
    if len(told) != streams or at >= streams or (match[2] is None) is not (streams == 1):
        raise _unknown(after)
    return _Mark(told, at, number)


def _unknown(after: str) -> MalformedRequest:
    return MalformedRequest(f"Last-Event-ID {after[:80]!r} isn't the id of an event that this platform sent")


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


def _expand(
    entry: str, fields: dict[str, str], segments: str, job: Job, *, channel: int, last: bool
) -> Iterator[Event]:
    """
    What an entry of a *channel*'s stream comes to; their ids begin with *entry*.

    The end is told only by the *last* one: an operator may retry a failure.
    """
    if fields["kind"] == "status":
        status = Status(fields["status"])
        if (_ends_by_itself(job) and status.terminal) or channel:
            return
        yield Event(f"{entry}.0", "status", {"status": status.value})
        if last and status.terminal and status is job.status:
            yield from _end(entry, job)
        return
    if fields["kind"] == "warning":
        for number, warning in enumerate(values.warnings(fields["warnings"])):
            if channel and warning.code is not WarningCode.SKIPPED:
                continue  # it is said of the file, and the first channel has said it
            yield Event(f"{entry}.{number}", "warning", warning.shape())
        return
    written = orjson.loads(segments) if segments else []
    for number, raw in enumerate(written):
        named = _channel(job.channels[channel]) if job.channels else {}
        yield Event(f"{entry}.{number}", "segment", _segment(raw, int(fields["span"])) | named)
    if "done" not in fields:
        return  # an entry of schema version 1, which didn't say how far the work was
    progress = job.progress  # of several channels together only how far they are now is known
    if not job.channels:
        progress = Progress(
            audio_seconds_done=values.seconds(fields["done"]) or 0.0,
            audio_seconds_total=values.seconds(fields["duration"]) or 0.0,
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


def _channel(channel: Channel) -> dict[str, Any]:
    return {"channel": channel.number} | ({} if channel.name is None else {"channel_name": channel.name})


def _segment(raw: dict[str, Any], span: int) -> dict[str, Any]:
    """A segment without the model's tokens; ``words`` only where they were asked for."""
    shape = {name: value for name, value in raw.items() if name != "tokens" and value is not None}
    # An older worker, or a ledger of an earlier version, has `doubtful` alone; clients get both names for one version.
    shape["low_confidence"] = shape["doubtful"] = shape.get("low_confidence", shape.get("doubtful", False))
    return {"span": span, **shape}
