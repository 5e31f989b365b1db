"""The ledger as a worker sees it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from transcription.computation import Claim, Facts, Hold, Timing
from transcription.job import Failure
from transcription.ports.figures import Lane, WorkerInfo
from transcription.result_warning import ResultWarning
from transcription.spans import Piece, Span
from transcription.speakers import Diarized
from transcription.transcript import Segment


@dataclass(frozen=True, slots=True)
class Heard:
    """A span of a diarization: its speech, and what was heard in it, a window each, as the diarizer packs it."""

    speech: tuple[Span, ...]
    windows: tuple[bytes, ...]


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

    def depart(self, info: WorkerInfo) -> None:
        """Say that this worker's process stops; nothing happens where another one has its name."""

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

    def jobs(self, claim: Claim) -> list[str]:
        """The jobs that wait for a claimed span."""

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
