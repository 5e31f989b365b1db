"""What goes over the wire: a job, a page of jobs, as JSON."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from transcription.channels import Channel
from transcription.job import Failure, Job, Progress, QueuePosition, Status
from transcription.options import Options
from transcription.ports import Page


def _absent(value: object) -> bool:
    return value is None


class ProgressOut(BaseModel):
    """How far the computation is, in seconds of audio."""

    fraction: float = Field(ge=0, le=1, examples=[0.25])
    audio_seconds_done: float = Field(examples=[30.0])
    audio_seconds_total: float = Field(description="0 while the recording's length isn't known.", examples=[120.0])
    estimated: bool = Field(
        description="The total is only what the file says of itself: the recording hasn't been decoded yet."
    )


class QueueOut(BaseModel):
    """Where a queued job stands in its class."""

    position: int = Field(description="1 is next.", examples=[3])
    audio_seconds_ahead: float | None = Field(
        None,
        description="Audio of the recordings ahead of it, and the rest of those being processed.",
        examples=[610.5],
    )
    eta_s: float | None = Field(
        None, description="Seconds until its turn at the latest, where the speed of the workers that suit it is known."
    )
    waits_for: str | None = Field(
        None,
        description="What a worker must have, while no live one has it: the job waits until one comes.",
        examples=["large-v3, device=cuda"],
    )


class AudioOut(BaseModel):
    """The recording."""

    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    bytes: int = Field(examples=[384_044])
    duration_s: float = Field(description="By its container until it has been decoded; 0 where that doesn't say.")
    filename: str = Field(examples=["meeting.mp3"])


class TrackOut(BaseModel):
    """An audio track of the recording."""

    number: int = Field(description="From 1 on; what `audio_track` takes.", examples=[1])
    codec: str = Field(examples=["aac"])
    channels: int = Field(examples=[2])
    sample_rate: int = Field(description="In Hz.", examples=[48_000])
    language: str | None = Field(None, description="As it is tagged.", examples=["en"])
    title: str | None = None
    default: bool = Field(description="The file's own first choice.")
    taken: bool = Field(description="The one that is transcribed.")


class ChannelOut(BaseModel):
    """A channel that is transcribed by itself."""

    number: int = Field(description="From 1 on; segments have it as `channel`.", examples=[1])
    name: str | None = Field(None, description="As `channel_names` has it.", examples=["agent"])
    language: str | None = Field(None, description="As asked for, or as detected.", examples=["en"])
    same_as: int | None = Field(None, description="The channel with the same sound, which has the text of both.")


class WarningOut(BaseModel):
    """Something that the result lacks, or where its times may be off."""

    code: str = Field(examples=["damaged"])
    message: str
    start: float | None = Field(None, description="Where, in seconds.", exclude_if=_absent, examples=[17.3])
    seconds: float | None = Field(None, description="How much.", exclude_if=_absent, examples=[9.0])
    bytes: int | None = Field(None, description="How much.", exclude_if=_absent)
    count: int = Field(description="How many places in the recording it covers.", examples=[1])


class ErrorOut(BaseModel):
    """Why a job failed."""

    code: str = Field(examples=["worker_lost"])
    message: str
    retryable: bool


class UrlsOut(BaseModel):
    """Where to go on from here; paths on this host."""

    self: str = Field(examples=["/v1/jobs/3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1"])
    result: str
    events: str
    cancel: str


class JobOut(BaseModel):
    """A job as its client sees it."""

    id: str = Field(examples=["3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1"])
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    progress: ProgressOut
    queue: QueueOut | None = Field(None, description="Only while the job waits.", exclude_if=_absent)
    model: str = Field(description="The model that computes, whatever alias was asked for.", examples=["base"])
    language: str | None = Field(None, description="As asked for, or as detected.", examples=["en"])
    options: Options
    audio: AudioOut
    cached: bool = Field(description="The result was there before the job.")
    attempts: int = Field(description="Attempts at the span that took the most.", examples=[1])
    compute_s: float | None = Field(None, description="Seconds of computing, summed over spans.")
    warnings: list[WarningOut] = Field(description="What the result lacks; empty for a perfect one.")
    tracks: list[TrackOut] = Field(description="The recording's audio tracks, once it has been decoded.")
    channels: list[ChannelOut] | None = Field(
        None, description="The channels, where each is transcribed by itself.", exclude_if=_absent
    )
    speakers: dict[str, str] | None = Field(
        None, description="The names that were given to speakers, by their labels.", exclude_if=_absent
    )
    error: ErrorOut | None = None
    urls: UrlsOut


class JobsOut(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[JobOut]
    cursor: str | None = Field(description="Asks for the next page; null on the last one.")


def job_out(job: Job, *, root: str = "") -> JobOut:
    """*job* for the wire; *root* is the path under which the API stands behind a proxy."""
    own = f"{root}/v1/jobs/{job.id}"
    return JobOut(
        id=job.id,
        status=job.status,
        created_at=rfc3339(job.created_at),
        started_at=_time(job.started_at),
        completed_at=_time(job.completed_at),
        expires_at=_time(job.expires_at),
        progress=_progress(job.progress),
        queue=_queue(job.queue),
        model=job.model,
        language=job.language,
        options=job.options,
        audio=AudioOut(
            sha256=job.audio.sha256,
            bytes=job.audio.bytes,
            duration_s=round(job.audio.duration_s, 3),
            filename=job.audio.filename,
        ),
        cached=job.cached,
        attempts=job.attempts,
        compute_s=None if job.compute_s is None else round(job.compute_s, 3),
        warnings=[WarningOut(**warning.shape()) for warning in job.warnings],
        tracks=[TrackOut(**asdict(track)) for track in job.tracks],
        channels=[_channel(channel) for channel in job.channels] or None,
        speakers=dict(job.names) if job.diarization is not None else None,
        error=error_out(job.failure),
        urls=UrlsOut(self=own, result=f"{own}/result", events=f"{own}/events", cancel=f"{own}/cancel"),
    )


def jobs_out(page: Page, *, root: str = "") -> JobsOut:
    """A page for the wire."""
    return JobsOut(jobs=[job_out(job, root=root) for job in page.jobs], cursor=page.cursor)


def error_out(failure: Failure | None) -> ErrorOut | None:
    """Why a job failed; None for one that didn't."""
    if failure is None:
        return None
    return ErrorOut(code=failure.code, message=failure.message, retryable=failure.retryable)


def _channel(channel: Channel) -> ChannelOut:
    return ChannelOut(number=channel.number, name=channel.name, language=channel.language, same_as=channel.same_as)


def _progress(progress: Progress) -> ProgressOut:
    return ProgressOut(
        fraction=round(progress.fraction, 4),
        audio_seconds_done=round(progress.audio_seconds_done, 3),
        audio_seconds_total=round(progress.audio_seconds_total, 3),
        estimated=progress.estimated,
    )


def _queue(queue: QueuePosition | None) -> QueueOut | None:
    if queue is None:
        return None
    rounded: dict[str, Any] = {
        name: None if value is None else round(value, 1)
        for name, value in (("audio_seconds_ahead", queue.audio_seconds_ahead), ("eta_s", queue.eta_s))
    }
    return QueueOut(position=queue.position + 1, waits_for=queue.waits_for, **rounded)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else rfc3339(seconds)


def rfc3339(seconds: float) -> datetime:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)
