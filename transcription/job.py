"""Job: one client's request for a computation; several jobs can share one."""

from dataclasses import dataclass
from enum import StrEnum

from transcription.channels import Channel
from transcription.errors import Fault
from transcription.options import Options
from transcription.result_warning import ResultWarning
from transcription.tracks import Track


class Status(StrEnum):
    """
    States of a job and of its computation.

        queued ──▶ processing ──▶ completed ─┐
          │            │    └───▶ failed ────┼──▶ expired
          └────────────┴────────▶ canceled ──┘
    """

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Nothing moves any more, but for retention and an operator's retry."""
        return self not in (Status.QUEUED, Status.PROCESSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a computation failed, and whose fault it is: only the input's leaves nothing for an operator to do."""

    code: str
    message: str
    retryable: bool = False
    fault: Fault = Fault.ENGINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a computation is, in seconds of audio. ``estimated``: the total is only what the file says of itself."""

    audio_seconds_done: float
    audio_seconds_total: float
    estimated: bool = False

    @property
    def fraction(self) -> float:
        """In [0, 1]; 0 while the total isn't known."""
        if self.audio_seconds_total <= 0:
            return 0.0
        return min(1.0, self.audio_seconds_done / self.audio_seconds_total)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePosition:
    """
    Where a queued job stands.

    ``audio_seconds_ahead`` and ``eta_s`` are None when they aren't known; ``waits_for`` is what a worker must have
    while no live one has it.
    """

    position: int
    audio_seconds_ahead: float | None
    eta_s: float | None
    waits_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """What is known of a recording: ``duration_s`` is the container's word until it has been decoded."""

    sha256: str
    bytes: int
    duration_s: float
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    A job as its client sees it. Times are Unix seconds of the ledger's clock.

    ``channels`` are there where each is transcribed by itself, the first one by ``computation``.
    ``diarization`` is the computation that says who speaks, where that was asked for, and ``names`` what speakers are
    called, by their label. ``references`` are the computations of known speakers' voices, in the order in which the
    options name them.
    """

    id: str
    tenant: str
    computation: str
    status: Status
    created_at: float
    started_at: float | None
    completed_at: float | None
    expires_at: float | None
    model: str
    language: str | None
    options: Options
    audio: Audio
    cached: bool
    attempts: int
    progress: Progress
    queue: QueuePosition | None = None
    failure: Failure | None = None
    compute_s: float | None = None
    warnings: tuple[ResultWarning, ...] = ()
    tracks: tuple[Track, ...] = ()
    diarization: str | None = None
    names: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = ()

    @property
    def computations(self) -> tuple[str, ...]:
        """Those that its transcript is made of."""
        return tuple(channel.computation for channel in self.channels) or (self.computation,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """
    A job that a client asks for, ready for the ledger: the audio is stored, the options are validated.

    ``max_jobs`` and ``max_bytes`` are what its tenant may keep in the ledger, 0: no limit.
    ``request_id`` and ``traceparent`` (W3C) say in which request it came; the computation that it starts keeps them.
    ``diarizer`` tells speakers apart, where *options* ask for that, and ``references`` are samples of the voices of the
    known speakers that they name, in their order. ``channels``: how many are transcribed by themselves; 1: as one.
    ``charged_s`` is what its tenant's quota was charged with, None where there is none: it is settled when the
    recording's true length is known.
    """

    job_id: str
    tenant: str
    audio: Audio
    model: str
    revision: str
    options: Options
    idempotency_key: str | None = None
    max_jobs: int = 0
    max_bytes: int = 0
    request_id: str = ""
    traceparent: str = ""
    charged_s: float | None = None
    diarizer: str | None = None
    references: tuple[Audio, ...] = ()
    channels: int = 1


class Outcome(StrEnum):
    """What a submission met: nothing yet, a running computation, a finished one, or its own repetition."""

    NEW = "new"
    JOINED = "joined"
    CACHED = "cached"
    REPEATED = "repeated"
