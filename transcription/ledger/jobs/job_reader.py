"""Reading jobs: one that many ask for at once, and the list of a tenant's."""

import base64
import binascii
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from transcription.errors import JobNotFound, LedgerUnavailable, MalformedRequest
from transcription.job import Job, QueuePosition, Status
from transcription.lanes import needed
from transcription.ledger import stats
from transcription.ledger.connections.batches import Batches
from transcription.ledger.connections.errors import translated
from transcription.ledger.connections.fail_fast import FailFastRedis
from transcription.ledger.jobs.made_jobs import MadeJobs
from transcription.ledger.records import jobs as job_records
from transcription.ledger.records import values
from transcription.ledger.scripts import PREFIX, Scripts, pairs
from transcription.ports import Backlog, Lane, Page
from transcription.settings import Settings

SCAN, SCANS = 200, 20
"""Where only jobs in one state are wanted: how many are read at once, and how often for one page."""

RATE_AGE_S = 2.0


class JobReader:
    """Reads jobs with the speeds of the workers in mind, by which a job's turn is told."""

    def __init__(self, client: FailFastRedis, scripts: Scripts, settings: Settings) -> None:
        self._client = client
        self._scripts = scripts
        self._settings = settings
        self._placed: Batches[str, Job | Exception | None] = Batches(lambda ids: self._look_up(ids, places=True))
        self._unplaced: Batches[str, Job | Exception | None] = Batches(lambda ids: self._look_up(ids, places=False))
        self._made = MadeJobs()
        self._lanes: dict[str, Lane] = {}
        self._lanes_at = float("-inf")

    async def one(self, job_id: str, *, tenant: str, places: bool) -> Job:
        """The job as it is now, with its place in the queue or without. JobNotFound."""
        job = await (self._placed if places else self._unplaced).get(job_id)
        if isinstance(job, Exception):
            raise job
        if job is None:  # of an expired one only its tenant knows
            job = next(iter(await self.read(tenant, [job_id], places=False)), None)
        if job is None or job.tenant != tenant:
            raise JobNotFound(f"no job {job_id!r}")
        return job

    async def _look_up(self, ids: Sequence[str], *, places: bool) -> list[Job | Exception | None]:
        """Jobs of any tenant, for all who ask just now; whose each is, is looked at when it is handed out."""
        with translated():
            rows = await self._scripts.call("read", "", int(places), *ids)
        await self._know_speeds(rows)
        return [self._made_job(job_id, row) if row else None for job_id, row in zip(ids, rows, strict=True)]

    def _made_job(self, job_id: str, row: list[Any]) -> Job | Exception:
        """The job of a row; an error where the ledger holds what can't be one: it is this job's alone."""
        try:
            known = self._made.get(job_id, row)
            # Its turn depends on the speed of the workers too.
            if known is not None and known.queue == self._queue(row):
                return known
            job = self._job(row)
        except Exception as error:  # noqa: BLE001  it is raised where the job was asked for
            return error
        self._made.put(row, job)
        return job

    async def read(self, tenant: str, ids: list[str], *, places: bool) -> list[Job]:
        """Those of the jobs that the tenant has, each as it is now."""
        with translated():
            rows = await self._scripts.call("read", tenant, int(places), *ids)
        return await self.of_rows([row for row in rows if row])

    async def of_rows(self, rows: list[Any]) -> list[Job]:
        """The jobs of a script's rows."""
        await self._know_speeds(rows)
        return [self._job(row) for row in rows]

    async def _know_speeds(self, rows: list[Any]) -> None:
        if any(row and row[2] != "" for row in rows) and time.monotonic() - self._lanes_at > RATE_AGE_S:
            # An ETA by the speed of workers that are gone would be a lie. One asks for all who come meanwhile: with
            # thousands of workers the figures take a while, and a crowd that asked for them would hold everybody up.
            self._lanes_at = time.monotonic()
            with suppress(LedgerUnavailable):  # a job without an ETA is still a job
                await self.backlog()

    def _job(self, row: list[Any]) -> Job:
        return job_records.job(pairs(row[0]), pairs(row[1]), self._queue(row), list(map(pairs, row[4])))

    def _queue(self, row: list[Any]) -> QueuePosition | None:
        if row[2] == "":
            return None
        return self._queue_position(pairs(row[1])["lane"], int(row[2]), values.seconds(row[3]))

    def _queue_position(self, lane: str, position: int, ahead_s: float | None) -> QueuePosition:
        workers = self._lanes.get(lane)  # a lane's first jobs come before the first look at it
        model, needs = needed(lane)
        return QueuePosition(
            position=position,
            audio_seconds_ahead=ahead_s,
            eta_s=ahead_s / workers.rate if ahead_s is not None and workers and workers.rate else None,
            waits_for=", ".join((model, *needs)) if workers and not workers.workers else None,
        )

    async def backlog(self) -> Backlog:
        """Figures for people, metrics and backpressure."""
        gone_ms = values.ms(3 * self._settings.lease.renew_s)
        with translated():
            found = stats.backlog(await self._scripts.call("backlog", gone_ms))
        self._lanes = found.lanes
        self._lanes_at = time.monotonic()
        return found

    async def list(self, *, tenant: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Jobs of one tenant without their places, newest first; at the end those that have expired."""
        jobs: list[Job] = []
        kind, at, last = _parse_cursor(cursor) or (_lists(status)[0], "+inf", "")
        step = SCAN if status else limit
        start = await self._rank(f"{PREFIX}{kind}:{tenant}", at, last)
        for _ in range(SCANS):
            with translated():
                found: Any = await self._client.zrange(
                    f"{PREFIX}{kind}:{tenant}", start, start + step - 1, desc=True, withscores=True
                )
            if not found:
                rest = _lists(status)[_lists(status).index(kind) + 1 :] if kind in _lists(status) else ()
                if not rest:
                    return Page(tuple(jobs), None)
                kind, at, last, start = rest[0], "+inf", "", 0
                continue
            start += len(found)
            rows = [(float(score), str(name)) for name, score in found]
            scores = {name: score for score, name in rows if not last or (score, name) < (float(at), last)}
            for job in await self.read(tenant, list(scores), places=False) if scores else []:
                if status is None or job.status is status:
                    jobs.append(job)
                    if len(jobs) == limit:
                        return Page(tuple(jobs), _cursor(kind, int(scores[job.id]), job.id))
            if scores:
                at, last = str(int(rows[-1][0])), rows[-1][1]
        return Page(tuple(jobs), _cursor(kind, at, last))

    async def _rank(self, key: str, at: str, last: str) -> int:
        """How many of a list's jobs are surely newer than the cursor's."""
        if not last:
            return 0
        with translated():
            rank: Any = await self._client.zrevrank(key, last)
            return int(await self._client.zcount(key, f"({at}", "+inf")) if rank is None else int(rank) + 1


_LISTS = {"jobs": "jobs", "expired": "expired"}


def _lists(status: Status | None) -> tuple[str, ...]:
    """The lists in which jobs of that status are, the first one first."""
    if status is Status.EXPIRED:
        return "expired", "jobs"
    return ("jobs", "expired") if status is None else ("jobs",)


def _cursor(kind: str, score: int | str, job_id: str) -> str:
    return base64.urlsafe_b64encode(f"{kind} {score} {job_id}".encode()).decode()


def _parse_cursor(cursor: str | None) -> tuple[str, str, str] | None:
    if not cursor:
        return None
    try:
        kind, score, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return _LISTS[kind], score if score == "+inf" else str(int(score)), job_id
    except (ValueError, KeyError, binascii.Error):
        raise MalformedRequest(f"cursor {cursor[:80]!r} isn't one that this platform gave out") from None
