"""A JobStore in memory, for tests of the routes: it accepts, lists and cancels; the test moves jobs on by hand."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from transcription.computation import DeadLetter
from transcription.errors import DeadLetterNotFound, IdempotencyConflict, JobFinished, JobNotFound, LedgerUnavailable
from transcription.job import Failure, Job, Outcome, Progress, QueuePosition, Status, Submission
from transcription.ports import Backlog, Lane, Mark, Page, Server, WorkerInfo
from transcription.speakers import Turn, attribute
from transcription.transcript import Segment, Transcript, Word

WORKER = WorkerInfo(
    id="w1",
    models=("demo",),
    engine="faster_whisper",
    device="cpu",
    compute_type="int8",
    slots=4,
    host="here",
    pid=1,
    started_at=1_700_000_000.0,
    rate=10.0,
    diarizer="voices@1",
)
SEGMENTS = (
    Segment(0.0, 1.5, " Hello there,", words=(Word(0.0, 0.5, " Hello", 0.9), Word(0.6, 1.5, " there,", 0.8))),
    Segment(1.5, 3.25, " you <all>.", words=(Word(1.5, 3.25, " you <all>.", 0.7),)),
)
TURNS = (Turn(0.0, 1.6, 0), Turn(1.6, 3.25, 1))


class MemoryJobs:
    """The ledger's face without the ledger."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.workers: tuple[WorkerInfo, ...] = (WORKER,)
        self.lanes: dict[str, Lane] = {}
        self.pending_audio_s = 0.0
        self.down = False
        self.broken: Exception | None = None
        self.submissions: list[Submission] = []
        self.withdrawn: list[str] = []
        self.accepted = asyncio.Event()
        self.letters: dict[str, DeadLetter] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._keys: dict[str, Submission] = {}
        self._clock = 1_700_000_000.0

    def finish(self, job_id: str, **changes: Any) -> None:
        """Move a job to its end; completed unless *changes* say otherwise."""
        job = self.jobs[job_id]
        now = self._tick()
        ended: dict[str, Any] = {
            "status": Status.COMPLETED,
            "started_at": now,
            "completed_at": now,
            "expires_at": now + 60,
            "queue": None,
        }
        progress = Progress(audio_seconds_done=job.audio.duration_s, audio_seconds_total=job.audio.duration_s)
        self.jobs[job_id] = replace(job, **{**ended, "progress": progress, **changes})
        self._ended[job_id].set()

    def fail(self, job_id: str) -> None:
        """Let a job fail."""
        failure = Failure(code="worker_lost", message="every worker that tried it died", retryable=False)
        self.finish(job_id, status=Status.FAILED, failure=failure)

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        self._check()
        key = submission.idempotency_key
        before = self._keys.get(key) if key else None
        if before is not None:
            if (before.audio.sha256, before.options) != (submission.audio.sha256, submission.options):
                raise IdempotencyConflict(f"Idempotency-Key {key!r} was used before for another payload")
            return self.jobs[before.job_id], Outcome.REPEATED
        self.submissions.append(submission)
        self.accepted.set()
        if key:
            self._keys[key] = submission
        done = [
            j for j in self.jobs.values() if j.audio.sha256 == submission.audio.sha256 and j.status is Status.COMPLETED
        ]
        self._ended[submission.job_id] = asyncio.Event()
        self.jobs[submission.job_id] = self._job(submission, cached=bool(done))
        if done:
            self.finish(submission.job_id)
        return self.jobs[submission.job_id], Outcome.CACHED if done else Outcome.NEW

    def _job(self, submission: Submission, *, cached: bool) -> Job:
        return Job(
            id=submission.job_id,
            tenant=submission.tenant,
            computation=f"c-{submission.audio.sha256[:8]}",
            status=Status.QUEUED,
            created_at=self._tick(),
            started_at=None,
            completed_at=None,
            expires_at=None,
            model=submission.model,
            language=submission.options.language,
            options=submission.options,
            audio=submission.audio,
            cached=cached,
            attempts=0,
            progress=Progress(audio_seconds_done=0.0, audio_seconds_total=submission.audio.duration_s),
            queue=QueuePosition(position=0, audio_seconds_ahead=12.34, eta_s=None),
            diarization="d-1" if submission.diarizer else None,
            references=tuple(f"d-{sample.sha256[:8]}" for sample in submission.references),
        )

    async def knows(self, key: str, *, tenant: str) -> bool:
        self._check()
        return key in self._keys and self._keys[key].job_id in self.jobs

    async def get(self, job_id: str, *, tenant: str) -> Job:
        self._check()
        job = self.jobs.get(job_id)
        if job is None or job.tenant != tenant:
            raise JobNotFound(f"no job {job_id!r}")
        return job

    async def list(self, *, tenant: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        self._check()
        kept = [j for j in reversed(self.jobs.values()) if j.tenant == tenant and status in (None, j.status)]
        start = int(cursor or 0)
        following = str(start + limit) if len(kept) > start + limit else None
        return Page(tuple(kept[start : start + limit]), following)

    async def transcript(self, job: Job) -> Transcript:
        self._check()
        complete = job.status is Status.COMPLETED
        turns = TURNS if complete and job.diarization else ()
        return Transcript(
            segments=attribute(SEGMENTS if complete else SEGMENTS[:1], turns, dict(job.names)),
            language=job.language or "en",
            language_probability=0.9,
            duration=job.audio.duration_s,
            task=job.options.task.value,
            model=job.model,
            complete=complete,
            warnings=job.warnings,
        )

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        self._check()
        there = len(SEGMENTS) if self.jobs[job.id].status is Status.COMPLETED else 1
        there = max(there, mark[1]) if job.progress.audio_seconds_done else mark[1]
        return SEGMENTS[mark[1] : there], (0, there)

    async def rename(self, job_id: str, names: dict[str, str], *, tenant: str) -> Job:
        job = await self.get(job_id, tenant=tenant)
        named = {label: name for label, name in {**dict(job.names), **names}.items() if name}
        self.jobs[job_id] = replace(job, names=tuple(sorted(named.items())))
        return self.jobs[job_id]

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        job = await self.get(job_id, tenant=tenant)
        if job.status.terminal:
            raise JobFinished(f"job {job_id!r} is {job.status.value} already")
        self.finish(job_id, status=Status.CANCELED)
        return self.jobs[job_id]

    async def expect(self, sha256: str, *, job_id: str) -> bool:
        self._check()
        return True

    async def withdraw(self, sha256s: Sequence[str], *, job_id: str) -> None:
        self._check()
        self.withdrawn.extend(sha256s)

    async def deleted(self, sha256: str) -> None:
        self._check()

    async def forget(self, job_id: str, *, tenant: str) -> tuple[str, ...]:
        job = await self.get(job_id, tenant=tenant)
        del self.jobs[job_id]
        return (job.audio.sha256,)

    async def follow(self, job: Job, *, seconds: float, quiet_s: float) -> AsyncGenerator[Job, None]:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            yield (now := self.jobs[job.id])
            left = deadline - asyncio.get_running_loop().time()
            if now.status.terminal or left <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended[job.id].wait(), min(left, quiet_s, 0.01))

    async def wait(self, job: Job, *, seconds: float) -> Job:
        async for _ in self.follow(job, seconds=seconds, quiet_s=seconds):
            pass
        return self.jobs[job.id]

    async def backlog(self) -> Backlog:
        self._check()
        return Backlog(
            pending_spans=len(self.jobs),
            pending_audio_s=self.pending_audio_s,
            running_spans=1,
            oldest_age_s=2.5,
            jobs={status: sum(j.status is status for j in self.jobs.values()) for status in Status},
            counters={"submitted": 4, "new": 2, "joined": 1, "cached": 1},
            workers=self.workers,
            dead=0,
            lanes=self.lanes,
        )

    async def server(self) -> Server:
        self._check()
        return Server(info={"used_memory": 1, "maxmemory": 2, "aof_enabled": 1, "connected_clients": 3})

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken
        if self.down:
            raise LedgerUnavailable("the ledger can't be reached; nothing was accepted", retry_after_s=5)

    def _tick(self) -> float:
        self._clock += 1.0
        return self._clock

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        return tuple(self.letters.values())

    async def dead_letter(self, computation: str) -> DeadLetter:
        if computation not in self.letters:
            raise DeadLetterNotFound(f"no dead letter {computation!r}")
        return self.letters[computation]

    async def retry(self, computation: str) -> None:
        letter = await self.dead_letter(computation)
        del self.letters[computation]
        for job_id in letter.jobs:
            self.jobs[job_id] = replace(self.jobs[job_id], status=Status.QUEUED, failure=None)

    async def drop(self, computation: str) -> None:
        await self.dead_letter(computation)
        del self.letters[computation]


class MemoryQueue:
    """A JobQueue that only counts."""

    def __init__(self) -> None:
        self.hints = 0

    def hint(self, lane: str, count: int = 1) -> None:
        self.hints += count

    def waiting(self, lane: str) -> int:
        return self.hints
