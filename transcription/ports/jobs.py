"""The ledger as the API sees it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from transcription.computation import DeadLetter
from transcription.job import Job, Outcome, Status, Submission
from transcription.ports.figures import Backlog, Server
from transcription.transcript import Segment, Transcript

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

    async def withdraw(self, sha256s: Sequence[str], *, job_id: str) -> None:
        """Say that a job that was on its way won't be recorded; its audio is to be deleted, unless another needs it."""

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
