"""The ledger for the API: jobs in Redis, async."""

import asyncio
import base64
import binascii
import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal

import orjson
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from transcription import lanes
from transcription.channels import joined
from transcription.computation import DeadLetter
from transcription.errors import (
    DeadLetterNotFound,
    IdempotencyConflict,
    JobExpired,
    JobFinished,
    JobNotFound,
    LedgerUnavailable,
    MalformedRequest,
    OutcomeUnknown,
    QuotaExceeded,
    StorageUnavailable,
    outage_endured,
)
from transcription.job import Audio, Job, Outcome, QueuePosition, Status, Submission
from transcription.known_speakers import recognized
from transcription.lanes import needed
from transcription.ledger import backup_record, records, stats
from transcription.ledger.archive import ArchiveReader
from transcription.ledger.batches import Batches
from transcription.ledger.change_feed import Watch
from transcription.ledger.connections import (
    RETRY_AFTER_S,
    is_fault,
    too_new,
    translated,
    unavailable,
    unchanged,
)
from transcription.ledger.fail_fast import FailFastRedis
from transcription.ledger.made_jobs import MadeJobs
from transcription.ledger.scripts import PREFIX, Scripts, noting, pairs
from transcription.options import Decoding, Diarization, Options, Priority, fingerprint
from transcription.ports import Backlog, Lane, Mark, Page, ResultStore, Server
from transcription.settings import Settings
from transcription.speakers import Diarized, Turn
from transcription.transcript import Segment, Transcript

_DIARIZED = "2"
"""The form of diarizations' results; the first one had no embeddings, by which known speakers are recognised."""

_FULL_RETRY_S = 600
_COMING_MS = 300_000

SCAN, SCANS = 200, 20
"""Where only jobs in one state are wanted: how many are read at once, and how often for one page."""

RATE_AGE_S = 2.0
WINDOWS = 50
"""Windows of a transcript that are read at once: about a quarter of an hour of speech."""

SYNC_SHARE = 0.6
"""Of the time that an answer may take, the part in which the server may sync to disk."""


class RedisJobs:
    """
    A JobStore on Redis. Its waiters share the one connection of *watch*; without it there is one of its own.

    *results* has the results that have left the ledger.
    """

    def __init__(
        self,
        client: FailFastRedis,
        settings: Settings,
        watch: Watch | None = None,
        results: ResultStore | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._scripts = Scripts(
            client,
            audit_length=settings.ledger.audit_length,
            dead_letter_ttl_s=settings.retention.dead_letter_ttl_s,
            keep_audio=settings.retention.keep_audio,
        )
        self._results = results
        self._archives = ArchiveReader(results, self._scripts)
        self._watch = watch or Watch(client)
        self._placed: Batches[str, Job | Exception | None] = Batches(lambda ids: self._look_up(ids, places=True))
        self._unplaced: Batches[str, Job | Exception | None] = Batches(lambda ids: self._look_up(ids, places=False))
        self._made = MadeJobs()
        self._lanes: dict[str, Lane] = {}
        self._lanes_at = float("-inf")

    async def close(self) -> None:
        """Stop listening and let the connections go."""
        await self._watch.close()
        await self._client.aclose()

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        """Accept a job: see JobStore."""
        request = self._request(submission)
        # What is as by default isn't written: of most jobs that is nearly all.
        options = submission.options.model_dump_json(exclude_defaults=True)
        decoding = submission.options.decodings(submission.channels)[0].model_dump_json(exclude_defaults=True)
        try:
            outcome, *row = await self._durably("submit", orjson.dumps(request).decode(), options, decoding)
        except (RedisError, OSError) as error:
            if unchanged(error) or is_fault(error) or too_new(error):
                unavailable(error)
            raise _unknown(submission.job_id, type(error).__name__) from error
        if outcome == "full":
            raise _full(submission, *row)
        if outcome == "conflict":
            raise IdempotencyConflict(
                f"Idempotency-Key {submission.idempotency_key!r} was used within a day for another payload"
            )
        (job,) = await self._jobs(row)
        return job, Outcome(outcome)

    async def _durably(self, name: str, *args: str) -> Any:
        """Run a script; with ``wait_aof`` return only when the server has synced its log to disk."""
        if not self._settings.ledger.wait_aof:
            return await self._scripts.call(name, *args)
        # The server must give up before the socket does, or its answer would never be heard.
        patience_ms = max(1, int(self._client.patience_s * 1000 * SYNC_SHARE))
        async with self._client.bounded(), self._client.pipeline(transaction=False) as pipe:
            await self._scripts.call(name, *args, client=pipe)
            pipe.execute_command("WAITAOF", 1, 0, patience_ms)
            with noting(name):
                answer, synced = await pipe.execute()
        if not synced[0]:
            raise RedisTimeoutError(f"not on the server's disk within {patience_ms} ms")
        return answer

    def _request(self, submission: Submission) -> dict[str, Any]:
        audio, options = submission.audio, submission.options
        first, *further = options.decodings(submission.channels)
        name = self._name(submission, first)
        samples = "".join(sample.sha256 for sample in submission.references)
        payload = hashlib.sha256(f"{name}{options.model_dump_json()}{samples}".encode()).hexdigest()
        return {
            "speakers": self._speakers(submission),
            "references": self._references(submission),
            "channels": [self._channel(submission, decoding) for decoding in further] or False,
            "id": submission.job_id,
            "tenant": submission.tenant,
            "computation": uuid.uuid4().hex,
            "fingerprint": name,
            "payload": payload,
            "cache": options.cache == "on",
            "deadline": self._deadline_s(options) * 1000,
            "idempotency_key": submission.idempotency_key or False,
            "lane": self._settings.lane(submission.model, languages=options.possible_languages),
            "max_jobs": submission.max_jobs,
            "max_bytes": submission.max_bytes,
            "sha": audio.sha256,
            "bytes": audio.bytes,
            "duration": records.ms(audio.duration_s),
            "charged": False if submission.charged_s is None else records.ms(submission.charged_s),
            "filename": audio.filename,
            "model": submission.model,
            "revision": submission.revision,
            "class": options.priority.value,
            "webhook": options.webhook_url or False,
            "request": submission.request_id,
            "trace": submission.traceparent,
            "ttl": (options.ttl_s or self._settings.retention.result_ttl_s) * 1000,
        }

    def _name(self, submission: Submission, decoding: Decoding) -> str:
        name = fingerprint(submission.audio.sha256, submission.model, submission.revision, decoding)
        return self._own(submission, name)

    def _channel(self, submission: Submission, decoding: Decoding) -> dict[str, Any]:
        """The computation of a channel after the first."""
        return {
            "computation": uuid.uuid4().hex,
            "fingerprint": self._name(submission, decoding),
            "lane": self._settings.lane(submission.model, languages=decoding.possible_languages),
            "model": submission.model,
            "decoding": decoding.model_dump_json(exclude_defaults=True),
        }

    def _own(self, submission: Submission, name: str) -> str:
        """A fingerprint as this tenant has it."""
        if self._settings.security.share_results:
            return name
        # Whoever hits another's computation would learn that somebody else has the recording.
        return hashlib.sha256(f"{submission.tenant}/{name}".encode()).hexdigest()

    def _speakers(self, submission: Submission) -> dict[str, Any] | Literal[False]:
        """The computation that says who speaks, where that is asked for."""
        asked = submission.options.diarization()
        if asked is None or submission.diarizer is None:
            return False
        return self._diarization(submission, submission.diarizer, submission.audio, asked)

    def _references(self, submission: Submission) -> list[dict[str, Any]] | Literal[False]:
        """The computations of known speakers' voices: each is a diarization of its sample."""
        if submission.diarizer is None or not submission.references:
            return False
        asked = Diarization(num_speakers=1, reference=True)
        return [
            {
                **self._diarization(submission, submission.diarizer, sample, asked),
                "sha": sample.sha256,
                "filename": sample.filename,
                "duration": records.ms(sample.duration_s),
            }
            for sample in submission.references
        ]

    def _diarization(self, submission: Submission, diarizer: str, audio: Audio, asked: Diarization) -> dict[str, Any]:
        model = lanes.SPEAKERS + diarizer
        return {
            "kind": records.SPEAKERS,
            "computation": uuid.uuid4().hex,
            "fingerprint": self._own(submission, fingerprint(audio.sha256, model, _DIARIZED, asked)),
            "lane": self._settings.lane(model),
            "model": model,
            "decoding": asked.model_dump_json(exclude_defaults=True),
        }

    def _deadline_s(self, options: Options) -> int:
        limits = self._settings.limits
        by_class = {
            Priority.INTERACTIVE: limits.deadline_interactive_s,
            Priority.BATCH: limits.deadline_batch_s,
        }
        return options.deadline_s or by_class[options.priority]

    async def knows(self, key: str, *, tenant: str) -> bool:
        """Whether a job that is still there was submitted under an idempotency key."""
        with translated():
            job_id: Any = await self._client.hget(f"{PREFIX}idem:{tenant}:{key}", "job")
            return job_id is not None and bool(await self._client.exists(f"{PREFIX}job:{job_id}"))

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """The job as it is now. JobNotFound."""
        return await self._one(job_id, tenant=tenant, places=True)

    async def _one(self, job_id: str, *, tenant: str, places: bool) -> Job:
        job = await (self._placed if places else self._unplaced).get(job_id)
        if isinstance(job, Exception):
            raise job
        if job is None:  # of an expired one only its tenant knows
            job = next(iter(await self._read(tenant, [job_id], places=False)), None)
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

    async def _read(self, tenant: str, ids: list[str], *, places: bool) -> list[Job]:
        with translated():
            rows = await self._scripts.call("read", tenant, int(places), *ids)
        return await self._jobs([row for row in rows if row])

    async def _jobs(self, rows: list[Any]) -> list[Job]:
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
        return records.job(pairs(row[0]), pairs(row[1]), self._queue(row), list(map(pairs, row[4])))

    def _queue(self, row: list[Any]) -> QueuePosition | None:
        if row[2] == "":
            return None
        return self._queue_position(pairs(row[1])["lane"], int(row[2]), records.seconds(row[3]))

    def _queue_position(self, lane: str, position: int, ahead_s: float | None) -> QueuePosition:
        workers = self._lanes.get(lane)  # a lane's first jobs come before the first look at it
        model, needs = needed(lane)
        return QueuePosition(
            position=position,
            audio_seconds_ahead=ahead_s,
            eta_s=ahead_s / workers.rate if ahead_s is not None and workers and workers.rate else None,
            waits_for=", ".join((model, *needs)) if workers and not workers.workers else None,
        )

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
            for job in await self._read(tenant, list(scores), places=False) if scores else []:
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

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        if job.channels:
            parts = [(channel, await self._transcript(job, channel.computation)) for channel in job.channels]
            return await asyncio.to_thread(joined, parts)
        found = await self._diarized(job.diarization) if job.diarization else Diarized()
        known: dict[str, str] = {}
        if found.turns and job.references:
            samples = [await self._diarized(reference) for reference in job.references]
            known = recognized(found, list(zip(job.options.known_speakers, samples, strict=False)))
        return await self._transcript(job, job.computation, found.turns, {**known, **dict(job.names)})

    async def _transcript(
        self, job: Job, computation: str, turns: tuple[Turn, ...] = (), names: dict[str, str] | None = None
    ) -> Transcript:
        with translated():
            comp, *spans = await self._scripts.call("transcript", computation)
        if not comp:
            raise JobExpired.of(job.id)
        fields, spans = await self._archives.whole(computation, pairs(comp), spans)
        return await asyncio.to_thread(records.transcript, fields, spans, turns, names)

    async def _diarized(self, diarization: str) -> Diarized:
        """Who speaks when; nothing before that is known."""
        with translated():
            comp, *spans = await self._scripts.call("transcript", diarization)
        if pairs(comp).get("status") != Status.COMPLETED:
            return Diarized()
        _, spans = await self._archives.whole(diarization, pairs(comp), spans)
        return await asyncio.to_thread(records.diarized, spans[-1])

    async def rename(self, job_id: str, names: dict[str, str], *, tenant: str) -> Job:
        """Give speakers names: see JobStore. JobNotFound."""
        with translated():
            row = await self._scripts.call("rename", job_id, tenant, orjson.dumps(names).decode())
        if not row:
            raise JobNotFound(f"no job {job_id!r}")
        (job,) = await self._jobs([row])
        return job

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """The transcript's next segments after *mark*: see JobStore."""
        if job.channels:  # any of them may have something that comes before, until all of them are done
            if mark != (0, 0) or job.status is not Status.COMPLETED:
                return (), mark
            return (await self.transcript(job)).segments, (1, 0)
        with translated():
            span, window, *windows = await self._scripts.call("written", job.computation, *mark, WINDOWS) or (*mark,)
        if span == "archived":
            archive = await self._archives.read(job.computation)
            rest = [part[mark[1] if mark[0] == at else 0 :] for at, part in enumerate(archive.spans) if at >= mark[0]]
            return records.windows([one for part in rest for one in part]), (len(archive.spans), 0)
        return records.windows(windows), (span, window)

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Cancel the job. JobNotFound, JobFinished."""
        with translated():
            answer, *rows = await self._scripts.call("cancel", job_id, tenant)
        if answer == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        (job,) = await self._jobs(rows)
        if answer == "finished":
            raise JobFinished(f"job {job_id!r} is {job.status.value} already")
        return job

    async def expect(self, sha256: str, *, job_id: str) -> bool:
        """Say that a job for a recording is on its way; False while its bytes are being deleted. LedgerUnavailable."""
        with translated():
            return bool(await self._scripts.call("expect", sha256, job_id, _COMING_MS))

    async def deleted(self, sha256: str) -> None:
        """Say that a recording's bytes, which `forget` named, are gone. LedgerUnavailable."""
        with translated():
            await self._client.delete(f"{PREFIX}deleting:{sha256}")

    async def forget(self, job_id: str, *, tenant: str) -> tuple[str, ...]:
        """Delete the job, and what nobody else holds: see JobStore. JobNotFound."""
        with translated():
            answer = await self._scripts.call("forget", job_id, tenant)
        if answer == "unknown":
            raise JobNotFound(f"no job {job_id!r}")
        if answer[1]:
            await self._delete_results(answer[1])
        return tuple(answer[2:])

    async def _delete_results(self, names: Sequence[str]) -> None:
        """Delete results at once that a deletion left to nobody; what fails here maintenance does."""
        if self._results is None:
            return
        with suppress(StorageUnavailable, RedisError):
            for name in names:
                await self._archives.delete(name)
            await self._client.zrem(f"{PREFIX}dropped", *names)

    async def follow(self, job: Job, *, seconds: float, quiet_s: float) -> AsyncGenerator[Job, None]:
        """Yield the job now and after each change, until its end: see JobStore."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds

        checks = self._watch.checks(
            [job.computation],
            lambda: self._one(job.id, tenant=job.tenant, places=False),
            longest_s=lambda: min(quiet_s, max(0.0, deadline - clock())),
        )
        async with aclosing(checks) as found:
            async for now in found:
                job = now or job
                yield job
                if job.status.terminal or clock() >= deadline:
                    return

    async def wait(self, job: Job, *, seconds: float) -> Job:
        """The job at its end, or as it is after *seconds*; as it was last seen while the ledger is away."""
        async with aclosing(self.follow(job, seconds=seconds, quiet_s=seconds)) as states:
            async for state in states:
                job = state
        if not job.status.terminal:
            with outage_endured():
                return await self.get(job.id, tenant=job.tenant)  # with its place in the queue
        return job

    async def backlog(self) -> Backlog:
        """Figures for people, metrics and backpressure."""
        gone_ms = records.ms(3 * self._settings.lease.renew_s)
        with translated():
            found = stats.backlog(await self._scripts.call("backlog", gone_ms))
        self._lanes = found.lanes
        self._lanes_at = time.monotonic()
        return found

    async def server(self) -> Server:
        """How the ledger's server is."""
        with translated():
            return stats.server(await self._client.info(), await self._client.hgetall(backup_record.KEY))

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Computations that wait for an operator, the latest first; a thousand at most."""
        return await self._letters("")

    async def dead_letter(self, computation: str) -> DeadLetter:
        """One dead letter. DeadLetterNotFound."""
        found = await self._letters(computation)
        if not found:
            raise DeadLetterNotFound(f"no dead letter {computation!r}")
        return found[0]

    async def _letters(self, wanted: str) -> tuple[DeadLetter, ...]:
        with translated():
            rows = await self._scripts.call("letters", 1000, wanted)
        return tuple(records.dead_letter(float(at) / 1000, pairs(comp), jobs) for at, comp, jobs in rows)

    async def retry(self, computation: str) -> None:
        """Try a dead letter again, with every option of its jobs. DeadLetterNotFound."""
        await self._resolve("retry", computation)

    async def drop(self, computation: str) -> None:
        """Take a dead letter off the list; its jobs stay failed. DeadLetterNotFound."""
        await self._resolve("drop", computation)

    async def _resolve(self, action: str, computation: str) -> None:
        with translated():
            answer = await self._scripts.call("dead", action, computation)
        if answer != "ok":
            raise DeadLetterNotFound(f"no dead letter {computation!r}")


def _unknown(job_id: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the ledger didn't answer in time ({why}): whether job {job_id!r} was accepted isn't known; look it up",
        job_id=job_id,
        retry_after_s=RETRY_AFTER_S,
    )


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


def _full(submission: Submission, jobs: int, stored_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"{jobs} of your jobs are kept, with {stored_bytes} bytes of options; your tier keeps {submission.max_jobs} "
        f"jobs and {submission.max_bytes} bytes: delete jobs, or let them expire",
        retry_after_s=_FULL_RETRY_S,
    )
