"""What the platform answers, as its clients see it. Fields that this version doesn't know are kept, not refused."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from murmur.client.errors import ApiError as ApiError  # noqa: PLC0414  they were here once
from murmur.client.errors import JobEnded as JobEnded  # noqa: PLC0414


class Status(StrEnum):
    """States of a job."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after it."""
        return self not in (Status.QUEUED, Status.PROCESSING)


class Remote(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="allow")


class RemoteProgress(Remote):
    """How far a job is: ``fraction`` in [0, 1], the rest in seconds of audio."""

    fraction: float = 0.0
    audio_seconds_done: float = 0.0
    audio_seconds_total: float = 0.0


class RemoteQueuePosition(Remote):
    """Where a queued job stands; ``eta_s`` is None when no honest one is known."""

    position: int | None = None
    audio_seconds_ahead: float | None = None
    eta_s: float | None = None


class RemoteAudio(Remote):
    """What is known of the recording."""

    sha256: str = ""
    bytes: int = 0
    duration_s: float = 0.0
    filename: str = ""


class RemoteWarning(Remote):
    """Something that a result lacks; ``start`` and ``seconds`` say where and how much, where that is known."""

    code: str
    message: str
    start: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    count: int = 1

    def __str__(self) -> str:
        where = "" if self.start is None else f" at {self.start:.1f} s"
        return f"{self.code}{where}: {self.message}" + (f" ({self.count} times)" if self.count > 1 else "")


class RemoteTrack(Remote):
    """An audio track of a recording; ``taken`` is the one that was transcribed."""

    number: int
    codec: str = ""
    channels: int = 0
    sample_rate: int = 0
    language: str | None = None
    title: str | None = None
    default: bool = False
    taken: bool = False


class RemoteFailure(Remote):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool = False


class RemoteJob(Remote):
    """A job. Times are in UTC."""

    id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    progress: RemoteProgress = RemoteProgress()
    queue: RemoteQueuePosition | None = None
    model: str = ""
    language: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    audio: RemoteAudio = RemoteAudio()
    cached: bool = False
    attempts: int = 0
    compute_s: float | None = None
    warnings: tuple[RemoteWarning, ...] = ()
    tracks: tuple[RemoteTrack, ...] = ()
    error: RemoteFailure | None = None
    urls: dict[str, str] = Field(default_factory=dict)


class RemoteWord(Remote):
    """One word, in seconds from the recording's start; ``probability`` in [0, 1]."""

    word: str
    start: float
    end: float
    probability: float = 1.0
    speaker: str | None = None


class RemoteSegment(Remote):
    """One stretch of speech, in seconds from the recording's start; ``words`` only where they were asked for."""

    start: float
    end: float
    text: str
    id: int | None = None
    words: tuple[RemoteWord, ...] | None = None
    speaker: str | None = None
    language: str | None = None
    channel: int | None = None
    channel_name: str | None = None
    doubtful: bool = False


class RemoteTranscript(Remote):
    """A whole transcript; ``duration`` in seconds, ``language`` by its English name."""

    text: str
    language: str | None = None
    duration: float = 0.0
    model: str = ""
    task: str = "transcribe"
    segments: tuple[RemoteSegment, ...] = ()


class RemoteDeadLetter(Remote):
    """A computation that failed though another try might help. ``jobs`` holds the ids of those who wait for it."""

    computation: str
    died_at: datetime
    error: RemoteFailure
    advice: str = ""
    attempts: int = 0
    model: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    audio: RemoteAudio = RemoteAudio()
    jobs: tuple[str, ...] = ()


class RemotePage(Remote):
    """One page of jobs, newest first; ``cursor`` asks for the next one, None at the end."""

    jobs: tuple[RemoteJob, ...]
    cursor: str | None = None


class RemoteEvent(Remote):
    """What happened to a job: ``status``, ``progress``, ``segment``, and at its end ``done`` or ``failed``."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self.type in ("done", "failed")


class RemoteMessage(Remote):
    """Word of a job's end: ``state`` is ``pending``, ``delivered``, ``failed`` (given up) or ``gone`` (410)."""

    id: str
    type: str
    state: str
    attempts: int = 0
    next_try_at: datetime | None = None


class RemoteTry(Remote):
    """A try at a delivery; ``status`` is the receiver's, None where it gave no answer."""

    message: str
    at: datetime
    outcome: str
    status: int | None = None
    error: str | None = None


class RemoteWebhooks(Remote):
    """What was sent to a job's ``webhook_url``, and the latest tries, the oldest first."""

    url: str | None = None
    messages: tuple[RemoteMessage, ...] = ()
    tries: tuple[RemoteTry, ...] = ()
