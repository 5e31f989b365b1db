"""What the domain needs from the world. The API's side is async, the worker's sync; no operation stands on both."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from transcription.access import ApiKey
from transcription.computation import Claim, DeadLetter, Facts, Hold, Timing
from transcription.job import Failure, Job, Outcome, Status, Submission
from transcription.lanes import ANY_LANGUAGE
from transcription.options import Priority
from transcription.result_warning import ResultWarning
from transcription.settings.security import Tier
from transcription.spans import Piece, Span
from transcription.speakers import Diarized
from transcription.transcript import Segment, Transcript
from transcription.webhook import DeliveryLog, Message, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """
    What a live worker says of itself.

    ``rate`` is its measured speed in audio-seconds per second, None at first. ``quarantine`` says why it claims
    nothing, or nothing for the models that it has ``withdrawn``; empty when all is well. ``diarizer`` tells speakers
    apart; empty where it can't. ``revisions`` are those of its models' weights, as far as it knows them.
    """

    id: str
    models: tuple[str, ...]
    engine: str
    device: str
    compute_type: str
    slots: int
    host: str
    pid: int
    started_at: float
    rate: float | None = None
    running: int = 0
    traits: tuple[str, ...] = (ANY_LANGUAGE,)
    layout: str = ""
    quarantine: str = ""
    withdrawn: tuple[str, ...] = ()
    diarizer: str = ""
    revisions: dict[str, str] = field(default_factory=dict)

    @property
    def fit(self) -> bool:
        """Whether it claims anything."""
        return not set(self.models) <= set(self.withdrawn)


@dataclass(frozen=True, slots=True)
class Heard:
    """A span of a diarization: its speech, and what was heard in it, a window each, as the diarizer packs it."""

    speech: tuple[Span, ...]
    windows: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    What waits in one class of service.

    ``recordings`` that no worker is on, ``audio_s`` of all spans, and the age of the oldest recording not yet begun.
    """

    recordings: int
    audio_s: float
    oldest_age_s: float | None


@dataclass(frozen=True, slots=True)
class Lane:
    """
    What a lane (see `transcription.lanes`) has of live workers: how many suit it, and their measured speed together.

    ``unserved`` are the recordings that wait in it while none does, ``pending`` all spans that wait in it.
    """

    workers: int
    rate: float
    unserved: int
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """A histogram of seconds: how many were at most each bound (`+Inf` last, cumulative), and their sum."""

    buckets: tuple[tuple[str, int], ...]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    How the ledger's server is, and its backups.

    ``max_bytes`` is 0 without a limit; ``aof_ok``: its last writes reached the disk. ``backup_at``: Unix seconds of the
    last good backup, 0: none; ``backup_every_s``: how often one is scheduled, 0: not at all.
    """

    used_bytes: int
    max_bytes: int
    evicts: bool
    aof: bool
    aof_ok: bool
    clients: int
    commands: int
    backup_at: float = 0.0
    backup_every_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """
    What waits and what runs, over the whole platform. Ages and lengths in seconds.

    ``used_bytes`` is the memory that the ledger's server uses, ``max_bytes`` what it may use; 0: it has no limit.
    ``writable``: whether its disk took the last write; it refuses all others while it doesn't. ``revisions``: of each
    model's weights, by the worker that said so last, alive or not.
    """

    pending_spans: int
    pending_audio_s: float
    running_spans: int
    oldest_age_s: float | None
    jobs: dict[Status, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    workers: tuple[WorkerInfo, ...] = ()
    dead: int = 0
    waiting: dict[Priority, Waiting] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    latencies: dict[tuple[str, Priority], Latency] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    used_bytes: int = 0
    max_bytes: int = 0
    writable: bool = True
    revisions: dict[str, str] = field(default_factory=dict)

    @property
    def ledger_percent(self) -> float:
        """The ledger's memory in use, in percent of what it may use; 0 where it has no limit."""
        return 100 * self.used_bytes / self.max_bytes if self.max_bytes else 0.0


Mark = tuple[int, int]
"""How far a transcript was read: a span's index, and a window of it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, newest first; ``cursor`` asks for the next one, None at the end."""

    jobs: tuple[Job, ...]
    cursor: str | None


class JobStore(Protocol):
    """The ledger as the API sees it. Every call may raise LedgerUnavailable."""

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        """Accept a job: one atomic step that finds or starts its computation. IdempotencyConflict."""

    async def knows(self, key: str, *, tenant: str) -> bool:
        """Whether a job that is still there was submitted under an idempotency key."""

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """The job as it is now. JobNotFound."""

    async def list(self, *, tenant: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Jobs of one tenant, newest first."""

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far; ``complete`` says whether that is all."""

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """
        The transcript's next segments after *mark*, (0, 0) at first, and where to go on; costs what is new.

        They come in the order of time: what is written of later spans waits for the earlier ones, and where channels
        are transcribed by themselves everything waits for the end. None are given when none are there yet, and at the
        end.
        """

    async def rename(self, job_id: str, names: dict[str, str], *, tenant: str) -> Job:
        """Give the job's speakers names, by their labels; an empty one takes a name back. JobNotFound."""

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Cancel the job; the last one to go stops the computation. JobNotFound, JobFinished."""

    async def expect(self, sha256: str, *, job_id: str) -> bool:
        """Say that a job for a recording is on its way; False while its bytes are being deleted."""

    async def deleted(self, sha256: str) -> None:
        """Say that a recording's bytes, which `forget` named, are gone."""

    async def forget(self, job_id: str, *, tenant: str) -> tuple[str, ...]:
        """Delete the job, and the result that nobody else holds; the SHA-256s of audio that nobody needs any more."""

    def follow(self, job: Job, *, seconds: float, quiet_s: float) -> AsyncGenerator[Job, None]:
        """
        Yield the job now, after each change and at least every *quiet_s*, until its end or for *seconds*.

        It comes without its place in the queue, and as it was last seen while the ledger is away. Holds neither a
        thread nor a connection. JobNotFound.
        """

    async def wait(self, job: Job, *, seconds: float) -> Job:
        """The last that `follow` has to say of the job within *seconds*."""

    async def backlog(self) -> Backlog:
        """Figures for people, metrics and backpressure."""

    async def server(self) -> Server:
        """How the ledger's server is."""

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Computations that wait for an operator, the latest first."""

    async def dead_letter(self, computation: str) -> DeadLetter:
        """One dead letter. DeadLetterNotFound."""

    async def retry(self, computation: str) -> None:
        """Try a dead letter again, with every option of its jobs. DeadLetterNotFound."""

    async def drop(self, computation: str) -> None:
        """Take a dead letter off the list; its jobs stay failed. DeadLetterNotFound."""


class SpanStore(Protocol):
    """The ledger as a worker sees it. Writes carry the claim's token and raise LeaseLost when it is old."""

    def claim(self, worker: str, *, models: Sequence[str], extras: bool, traits: Sequence[str] = ...) -> Claim | None:
        """
        Take the next span under a lease.

        Args:
            worker: Its name.
            models: What it can compute with.
            extras: Also further spans of computations already in work.
            traits: What else it has that computations may need: see `transcription.lanes`; by default any language.
        """

    def renew(self, claims: Sequence[Claim]) -> dict[int, Hold]:
        """Prolong leases; what each token's renewal found."""

    def prepared(
        self,
        claim: Claim,
        pieces: Sequence[Piece],
        *,
        language: str | None,
        probability: float | None,
        facts: Facts = ...,
    ) -> None:
        """
        Set where the recording was cut, and what else decoding told of it.

        The caller goes on with the first span, the others become pending. Its true length settles the quota.
        """

    def append(
        self,
        claim: Claim,
        segments: Iterable[Segment],
        *,
        window: int,
        audio_s: float,
        warnings: Iterable[ResultWarning] = ...,
        language: str | None = ...,
    ) -> None:
        """
        Write one window's segments (absolute times); *audio_s* of the span are done now. Stopped: unwanted.

        Whoever claims the span after this finds *language* in the claim.
        """

    def append_voices(self, claim: Claim, voices: bytes, *, window: int, audio_s: float) -> None:
        """Write what was heard in one window of a diarization's span; *audio_s* of it are done. As `append`."""

    def voices(self, claim: Claim) -> "list[Heard]":
        """What was heard in all spans of a diarization, in the order of time. LedgerUnavailable."""

    def append_diarized(self, claim: Claim, found: Diarized) -> None:
        """Write who speaks when, all of a recording: what the span that closes a diarization is for. As `append`."""

    def finish(self, claim: Claim, timing: Timing, *, windows: int | None = None) -> bool:
        """
        Commit a span; True when it was the computation's last.

        LeaseLost: fewer than *windows* are written; whoever claims the span goes on there.
        """

    def keep_from_cache(self, claim: Claim) -> None:
        """Say that other weights compute this than its request named: nobody else is to get its result."""

    def fail(self, claim: Claim, failure: Failure, *, retry_in_s: float | None) -> None:
        """Report a failed attempt; without *retry_in_s* the computation fails."""

    def hung(self, worker: str, claims: Sequence[Claim]) -> int:
        """Say that these spans stand still and the worker ends for them; how many came back."""

    def release(self, claim: Claim) -> None:
        """Hand a span back, as if it had never been claimed."""

    def register(self, info: WorkerInfo) -> int:
        """Say that this worker lives; spans that an earlier process of the same name held come back: how many."""

    def register_all(self, infos: Iterable[WorkerInfo]) -> frozenset[str]:
        """Say that these workers live, which the ledger knows; those of them that must `register` themselves."""

    def reap(self) -> int:
        """Return spans whose lease has expired; how many."""

    def webhooks_wait(self) -> bool:
        """Whether there are messages to be sent that nobody has taken; one caller is told."""

    def pending(self) -> int:
        """Spans that could be claimed now."""

    def depart(self, worker: str) -> None:
        """Say that this worker stops."""

    def sweep(self) -> int:
        """Let jobs expire whose retention is over, a part of them at a time; how many moved."""

    def fail_unserved(self) -> int:
        """Fail what waits for a model that no worker has named for too long, though others live; how many."""

    def rewrite(self, *, after_s: float) -> bool:
        """Have the append-only file written anew when something was deleted longer ago than that; whether it began."""

    def lanes(self) -> dict[str, Lane]:
        """What waits in each lane, and how many live workers suit it."""

    def waiting_lanes(self) -> list[str]:
        """The lanes in which anything waits."""

    def whose(self, claim: Claim) -> tuple[str, list[str]]:
        """The class of a claimed span, and the jobs that wait for it."""

    def cancel(self, job_id: str) -> str:
        """Cancel a job, whatever its tenant; `ok`, `finished` or `unknown`."""

    def lock(self, name: str, *, seconds: float) -> bool:
        """True for one worker at a time, for so many seconds."""

    def unneeded_audio(self) -> list[str]:
        """The next SHA-256s whose bytes are to be deleted; none when nothing is due."""

    def needed_audio(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these SHA-256s a computation needs."""

    def finished(self, *, after_s: float, most: int) -> list[str]:
        """Computations that finished longer ago than that, or are long, whose texts are still in the ledger."""

    def whole(self, computation: str) -> bytes | None:
        """All that is to leave the ledger of a finished computation, packed; None: nothing is."""

    def archived(self, computation: str) -> bool:
        """Drop from the ledger what is in the result store now; False: the computation has gone, and so must that."""

    def dropped(self, most: int) -> list[str]:
        """Results that nobody needs any more."""

    def deleted_results(self, names: Sequence[str]) -> None:
        """Say that these results have been deleted."""

    def known_results(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these computations the ledger knows."""

    def waiting_audio(self, limit: int) -> list[str]:
        """SHA-256 of recordings that wait for their first worker, the oldest of each class first."""

    def works_on(self, computation: str) -> bool:
        """Whether a computation is still to be finished."""


class Upload(Protocol):
    """A file on its way in."""

    size: int

    async def write(self, chunk: bytes) -> None:
        """Add bytes."""

    async def path(self) -> Path:
        """A local path with all bytes so far, to look at before they are kept; good until commit or abort."""

    async def commit(self) -> str:
        """Make the file durable under its SHA-256, and return that (64 hexadecimal digits)."""

    def sha256(self) -> str:
        """Its SHA-256, after `path`, which looked at all of its bytes."""

    async def abort(self) -> None:
        """Leave nothing behind; does nothing after a commit."""


class BlobStore(Protocol):
    """Uploaded bytes under their SHA-256; paths that it gives lead to what is stored, which may be encrypted."""

    def upload(self, *, expected_bytes: int = 0) -> Upload:
        """Begin to receive a file; so much of the disk is kept for it."""

    def promised_bytes(self) -> int:
        """What uploads that are under way have yet to bring, as far as they have said."""

    def fetch(self, sha256: str, *, progressed: Callable[[], None] = ...) -> Path:
        """A local path with the blob's bytes; *progressed* is called while they come. BlobMissing."""

    def set_aside(self, sha256: str) -> None:
        """Take a damaged blob out of use; the next upload of the recording replaces it."""

    def check(self, sha256: str) -> None:
        """Compare a blob with its name, and set it aside if it is another file. BlobMissing, BlobDamaged."""

    def discard(self, sha256: str, *, older_than_s: float) -> None:
        """Delete a blob that came in longer ago than that; nothing happens when there is none."""

    def old(self, *, older_than_s: float) -> list[str]:
        """The blobs that came in longer ago than that; uploads that began then and never ended are deleted."""

    def sweep(self, *, older_than_s: float, held: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Delete what came in longer ago than that and is not *held*, and uploads that never ended; how many files."""


class ResultStore(Protocol):
    """Finished results that have left the ledger, each under its computation's name."""

    def write(self, name: str, data: bytes) -> None:
        """Keep a result; it is durable when this returns. StorageUnavailable."""

    def read(self, name: str) -> bytes:
        """A result. ResultLost, StorageUnavailable."""

    def delete(self, name: str) -> None:
        """Delete a result; nothing happens when there is none. StorageUnavailable."""

    def old(self, *, older_than_s: float) -> Iterable[str]:
        """The names of what was written longer ago than that."""


class JobQueue(Protocol):
    """Hints to the workers that there is something to claim. Losing one, or getting it twice, doesn't matter."""

    def hint(self, lane: str, count: int = 1) -> None:
        """Send *count* hints to workers that suit a lane; never raises: a lost hint is sent again."""

    def waiting(self, lane: str) -> int:
        """Hints of a lane that no worker has taken yet."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job: `status`, `progress`, `segment`, `warning`, or its end: `done` or `error`."""

    id: str
    type: str
    data: dict[str, Any]


class EventLog(Protocol):
    """What happens to a job, in order, each event with an id that can be resumed from."""

    def events(self, job: Job, *, after: str | None, quiet_s: float) -> AsyncGenerator[Event | None, None]:
        """
        Yield what happened after the event *after*, and what happens, until the job's end.

        None means that there is nothing to tell: at the start, and then after every *quiet_s* seconds. Holds neither
        a thread nor a connection. MalformedRequest: *after* isn't the id of an event.
        """


class Outbox(Protocol):
    """Messages about jobs' ends: workers claim and settle them, the API shows and replays them."""

    due_in_s: float | None
    """After a claim that found nothing due: in how many seconds the next message is; None: there is none."""

    async def claim(self, *, lease_s: float) -> Message | None:
        """Take a message that is due; nobody else gets it for *lease_s*. LedgerUnavailable."""

    async def settle(
        self, message: Message, outcome: Verdict, *, retry_in_s: float | None, status: int, error: str, took_s: float
    ) -> bool:
        """Write what a try came to; False when another worker has the message by now. LedgerUnavailable."""

    async def log(self, job_id: str, *, tenant: str) -> DeliveryLog:
        """What was sent for a job, and what came of it. JobNotFound, LedgerUnavailable."""

    async def replay(self, job_id: str, *, tenant: str) -> None:
        """Send a job's last message again, under its own id. JobNotFound, NoWebhook, LedgerUnavailable."""


class KeyRing(Protocol):
    """The API keys that were given out."""

    async def find(self, secret: str) -> ApiKey | None:
        """The key of *secret*; None for one that was never given out, is revoked or has expired. LedgerUnavailable."""

    async def used(self, key: ApiKey) -> None:
        """Note that *key* was used now; never raises."""


class QuotaBook(Protocol):
    """What tenants have taken of their quotas."""

    async def take(self, tenant: str, tier: Tier, *, job_id: str = "", audio_s: float = 0.0) -> None:
        """Take a job and its audio; without *job_id* only look. QuotaExceeded, LedgerUnavailable."""

    async def restore(self, tenant: str, tier: Tier, *, job_id: str, audio_s: float) -> None:
        """Give back what was taken; with an empty *job_id* only the audio. LedgerUnavailable."""
