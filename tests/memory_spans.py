"""A SpanStore in memory, for tests of a worker's parts: one queue, no priorities, time moves as the test says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from transcription.computation import Claim, Facts, Hold, Timing
from transcription.errors import LeaseLost, NameTaken, Stopped
from transcription.job import Failure, Submission
from transcription.lanes import ANY_LANGUAGE
from transcription.options import Decoding
from transcription.ports import Heard, Lane, WorkerInfo
from transcription.result_warning import ResultWarning
from transcription.spans import Piece, Span
from transcription.speakers import Diarized
from transcription.transcript import Segment


@dataclass
class _Work:
    """A computation: who waits for it, and its spans by their index."""

    submission: Submission
    jobs: set[str]
    spans: dict[int, "_Part"] = field(default_factory=dict)
    language: str | None = None
    status: str = "queued"


@dataclass
class _Part:
    """A span: ``holder`` has it under ``token``; ``due`` is when it can be claimed, None: it is done."""

    span: Span
    whole: bool
    speech: tuple[Span, ...] | None = None
    attempt: int = 1
    windows: set[int] = field(default_factory=set)
    due: float | None = 0.0
    holder: str | None = None
    token: int = 0
    suspect: bool = False
    voices: list[bytes] = field(default_factory=list)
    language: str | None = None


class MemorySpans:
    """The ledger's other face without the ledger. ``now`` is its clock, in seconds."""

    def __init__(self, *, max_attempts: int = 3, ttl_s: float = 20.0) -> None:
        self.now = 0.0
        self.work: dict[str, _Work] = {}
        self.segments: dict[str, list[Segment]] = {}
        self.diarized: dict[str, Diarized] = {}
        self.uncached: set[str] = set()
        self._workers: dict[str, WorkerInfo] = {}
        self._ends: dict[int, float] = {}
        self._locks: dict[str, float] = {}
        self._token = 0
        self._max_attempts = max_attempts
        self._ttl_s = ttl_s

    def accept(self, submission: Submission) -> str:
        """Take a job: each is a computation of its own here. Gives that one's name."""
        name = f"c-{submission.job_id}"
        whole = _Part(Span(0.0, submission.audio.duration_s), whole=True)
        self.work[name] = _Work(submission, {submission.job_id}, {0: whole})
        return name

    def claim(
        self, worker: str, *, models: Sequence[str], extras: bool, traits: Sequence[str] = (ANY_LANGUAGE,)
    ) -> Claim | None:
        """The oldest span that is due; *traits* suit everything here."""
        for name, work in self.work.items():
            if work.status not in ("queued", "processing") or work.submission.model not in models:
                continue
            held = any(part.holder for part in work.spans.values())
            for index, part in work.spans.items():
                if part.holder or part.due is None or part.due > self.now or (held and not extras):
                    continue
                self._token += 1
                part.holder, part.token = worker, self._token
                self._ends[self._token] = self.now + self._ttl_s
                work.status = "processing"
                return self._claim(name, work, index, part)
        return None

    @staticmethod
    def _claim(name: str, work: _Work, index: int, part: _Part) -> Claim:
        audio, options = work.submission.audio, work.submission.options
        decoding: Decoding = options.decoding()
        return Claim(
            computation=name, index=index, token=part.token, span=part.span, attempt=part.attempt,
            windows_done=len(part.windows), audio_sha256=audio.sha256, filename=audio.filename,
            model=work.submission.model, decoding=decoding,
            language=part.language or work.language or options.language,
            speech=part.speech, whole=part.whole, alone=False, suspect=part.suspect,
            priority=options.priority, job=min(work.jobs), jobs=len(work.jobs),
        )  # fmt: skip

    def _held(self, claim: Claim) -> tuple[_Work, _Part]:
        work = self.work.get(claim.computation)
        if work is None or work.status not in ("queued", "processing"):
            raise Stopped(f"nobody waits for span {claim.name} any more")
        part = work.spans[claim.index]
        if part.token != claim.token or part.holder is None:
            raise LeaseLost(f"span {claim.name} is another worker's now")
        self._ends[claim.token] = self.now + self._ttl_s
        return work, part

    def renew(self, claims: Sequence[Claim]) -> dict[int, Hold]:
        """Prolong leases."""
        found = {}
        for claim in claims:
            try:
                self._held(claim)
                found[claim.token] = Hold(held=True, wanted=True)
            except LeaseLost:
                found[claim.token] = Hold(held=False, wanted=True)
            except Stopped:
                found[claim.token] = Hold(held=False, wanted=False)
        return found

    def prepared(
        self,
        claim: Claim,
        pieces: Sequence[Piece],
        *,
        language: str | None,
        probability: float | None,
        facts: Facts = Facts(),  # noqa: B008  frozen
    ) -> None:
        """Cut the recording."""
        work, part = self._held(claim)
        work.language = language
        for index, piece in enumerate(pieces):
            one = part if index == claim.index else work.spans.setdefault(index, _Part(piece.span, whole=False))
            one.span, one.speech, one.whole = piece.span, tuple(piece.speech), len(pieces) == 1

    def append(
        self,
        claim: Claim,
        segments: Iterable[Segment],
        *,
        window: int,
        audio_s: float,
        warnings: Iterable[ResultWarning] = (),
        language: str | None = None,
    ) -> None:
        """Write one window; a window that was written is not written again."""
        _, part = self._held(claim)
        if window not in part.windows:
            part.windows.add(window)
            part.language = language or part.language
            self.segments.setdefault(claim.computation, []).extend(segments)

    def append_voices(self, claim: Claim, voices: bytes, *, window: int, audio_s: float) -> None:
        """Write what was heard in a window."""
        _, part = self._held(claim)
        if window not in part.windows:
            part.windows.add(window)
            part.voices.append(voices)

    def voices(self, claim: Claim) -> list[Heard]:
        """What was heard in every span."""
        parts = sorted(self.work[claim.computation].spans.items())
        return [Heard(part.speech or (), tuple(part.voices)) for _, part in parts if part.voices]

    def append_diarized(self, claim: Claim, found: Diarized) -> None:
        """Write who speaks when."""
        _, part = self._held(claim)
        part.windows.add(0)
        self.diarized[claim.computation] = found

    def finish(self, claim: Claim, timing: Timing, *, windows: int | None = None) -> bool:
        """Commit a span, if all is written."""
        work, part = self._held(claim)
        if windows is not None and len(part.windows) < windows:
            self._let_go(part, due=self.now)
            raise LeaseLost(f"span {claim.name} isn't written to its end")
        self._let_go(part, due=None)
        if any(one.due is not None for one in work.spans.values()):
            return False
        work.status = "completed"
        return True

    def keep_from_cache(self, claim: Claim) -> None:
        """Note that other weights compute this."""
        self._held(claim)
        self.uncached.add(claim.computation)

    def fail(self, claim: Claim, failure: Failure, *, retry_in_s: float | None) -> None:
        """Report a failed attempt."""
        work, part = self._held(claim)
        if retry_in_s is None:
            work.status = "failed"
            return
        part.attempt += 1
        self._let_go(part, due=self.now + retry_in_s)

    def hung(self, worker: str, claims: Sequence[Claim]) -> int:
        """These spans stand still; each is charged an attempt."""
        return sum(self._lose(claim.computation, claim.index, claim.token) for claim in claims)

    def _lose(self, computation: str, index: int, token: int) -> bool:
        work = self.work[computation]
        part = work.spans[index]
        if part.token != token or not part.holder or work.status != "processing":
            return False
        self._let_go(part, due=self.now)
        part.attempt, part.suspect = part.attempt + 1, True
        if part.attempt > self._max_attempts:
            work.status = "failed"
        return True

    def _let_go(self, part: _Part, *, due: float | None) -> None:
        self._ends.pop(part.token, None)
        part.holder, part.due = None, due

    def release(self, claim: Claim) -> None:
        """Hand a span back; nothing happens when it is somebody else's."""
        try:
            _, part = self._held(claim)
        except (LeaseLost, Stopped):
            return
        self._let_go(part, due=self.now)

    def register(self, info: WorkerInfo) -> int:
        """Say that this worker lives."""
        known = self._workers.get(info.id)
        if known and known.host != info.host:
            raise NameTaken(f"another worker called {info.id!r} lives on another host", for_good=False)
        self._workers[info.id] = info
        if not known or (known.pid, known.started_at) == (info.pid, info.started_at):
            return 0
        return sum(self._lose(*lost) for lost in self._holding(info.id))

    def _holding(self, worker: str) -> list[tuple[str, int, int]]:
        return [
            (name, index, part.token)
            for name, work in self.work.items()
            for index, part in work.spans.items()
            if part.holder == worker
        ]

    def depart(self, info: WorkerInfo) -> None:
        """Say goodbye."""
        known = self._workers.get(info.id)
        if known and (known.pid, known.started_at) == (info.pid, info.started_at):
            del self._workers[info.id]

    def reap(self) -> int:
        """Return spans whose lease is over."""
        over = {token for token, at in self._ends.items() if at <= self.now}
        holders = {part.holder for work in self.work.values() for part in work.spans.values() if part.holder}
        lost = [one for holder in holders for one in self._holding(holder) if one[2] in over]
        return sum(self._lose(*one) for one in lost)

    def register_all(self, infos: Iterable[WorkerInfo]) -> frozenset[str]:
        """Know none: each is to register itself."""
        return frozenset(info.id for info in infos)

    def finished(self, *, after_s: float, most: int) -> list[str]:
        """It keeps all results."""
        return []

    def whole(self, computation: str) -> bytes | None:
        """It keeps all results."""
        return None

    def archived(self, computation: str) -> bool:
        """It keeps all results."""
        return False

    def dropped(self, most: int) -> list[str]:
        """It keeps all results."""
        return []

    def deleted_results(self, names: Sequence[str]) -> None:
        """It keeps all results."""

    def known_results(self, names: Sequence[str]) -> frozenset[str]:
        """It keeps all results."""
        return frozenset(names)

    def webhooks_wait(self) -> bool:
        """It has no outbox."""
        return False

    def pending(self) -> int:
        """Spans that could be claimed now."""
        return sum(
            part.holder is None and part.due is not None and part.due <= self.now
            for work in self._open().values()
            for part in work.spans.values()
        )

    def _open(self) -> dict[str, _Work]:
        return {name: work for name, work in self.work.items() if work.status in ("queued", "processing")}

    def lanes(self) -> dict[str, Lane]:
        """What waits for each model."""
        found: dict[str, Lane] = {}
        for lane in self.waiting_lanes():
            suiting = [info for info in self._workers.values() if lane in info.models]
            rate = sum(info.rate or 0.0 for info in suiting)
            found[lane] = Lane(len(suiting), rate, 0 if suiting else self.pending(), self.pending())
        return found

    def waiting_lanes(self) -> list[str]:
        """The models for which anything waits."""
        return sorted({work.submission.model for work in self._open().values()}) if self.pending() else []

    def jobs(self, claim: Claim) -> list[str]:
        """The jobs that wait for a span."""
        return sorted(self.work[claim.computation].jobs)

    def cancel(self, job_id: str) -> str:
        """Cancel a job."""
        for work in self.work.values():
            if job_id in work.jobs:
                if work.status not in ("queued", "processing"):
                    return "finished"
                work.status = "canceled"
                return "ok"
        return "unknown"

    def lock(self, name: str, *, seconds: float) -> bool:
        """True for one at a time."""
        if self._locks.get(name, -1.0) > self.now:
            return False
        self._locks[name] = self.now + seconds
        return True

    def sweep(self) -> int:
        """Nothing expires here."""
        return 0

    def fail_unserved(self) -> int:
        """Everything is served here."""
        return 0

    def rewrite(self, *, after_s: float) -> bool:
        """There is no file."""
        return False

    def unneeded_audio(self) -> list[str]:
        """Nothing is deleted here."""
        return []

    def needed_audio(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these open computations need."""
        return frozenset(names) & {work.submission.audio.sha256 for work in self._open().values()}

    def waiting_audio(self, limit: int) -> list[str]:
        """What nobody has begun, the oldest first."""
        waiting = [work.submission.audio.sha256 for work in self.work.values() if work.status == "queued"]
        return waiting[:limit]

    def works_on(self, computation: str) -> bool:
        """Whether it is still to be finished."""
        return computation in self._open()
