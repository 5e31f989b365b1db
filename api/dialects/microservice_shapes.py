"""What the Microservice's clients see: its words for states, progress in percent, confidences."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from transcription.errors import JobExpired
from transcription.job import Job
from transcription.job import Status as JobStatus
from transcription.ports import WorkerInfo
from transcription.transcript import Segment, Transcript, Word

Status = Literal["pending", "processing", "completed", "failed"]

# Its clients poll until one of two words comes, so what will never be completed has failed.
_STATUSES: dict[JobStatus, Status] = {
    JobStatus.QUEUED: "pending",
    JobStatus.PROCESSING: "processing",
    JobStatus.COMPLETED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "failed",
    JobStatus.EXPIRED: "failed",
}


class MicroserviceWord(BaseModel):
    """A word; times in seconds."""

    word: str
    start: float
    end: float
    confidence: float = Field(ge=0, le=1)


class MicroserviceSegment(BaseModel):
    """A segment; times in seconds."""

    id: int
    start: float
    end: float
    text: str
    confidence: float = Field(ge=0, le=1, description="Mean probability: of its words where they are known.")
    words: list[MicroserviceWord] | None = Field(None, description="Where `timestamp_granularity` is `word`.")


class MicroserviceTranscript(BaseModel):
    """A transcript."""

    text: str
    language: str | None = Field(examples=["en"])
    language_probability: float = Field(ge=0, le=1, description="1 if the client gave the language.")
    duration: float = Field(description="Of the recording, in seconds.", examples=[125.5])
    segments: list[MicroserviceSegment]
    processing_time: float = Field(description="In seconds.", examples=[12.3])


class MicroserviceSubmitted(BaseModel):
    """A job was accepted."""

    job_id: str
    status: Literal["pending"] = Field(description="Always this value; ask the status route for the job's progress.")
    message: str
    status_url: str = Field(examples=["/api/v1/status/3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1"])
    estimated_time: int = Field(description="Seconds until it is done, at the workers' measured speed.", examples=[30])


class MicroserviceJob(BaseModel):
    """A job."""

    job_id: str
    status: Status
    progress: int = Field(ge=0, le=100, description="In percent of the audio.")
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    filename: str
    model: str
    result: MicroserviceTranscript | None = None
    error: str | None = None


class MicroserviceJobs(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[MicroserviceJob]
    total: int = Field(description="On this page.")
    cursor: str | None = Field(description="Asks for the next page; null on the last one.")


def job_out(job: Job, transcript: Transcript | None = None) -> MicroserviceJob:
    """*job* with its *transcript*, where that is there."""
    completed = job.status is JobStatus.COMPLETED
    return MicroserviceJob(
        job_id=job.id,
        status=_STATUSES[job.status],
        progress=100 if completed else min(99, int(100 * job.progress.fraction)),
        created_at=_time(job.created_at),
        started_at=None if job.started_at is None else _time(job.started_at),
        completed_at=None if job.completed_at is None else _time(job.completed_at),
        filename=job.audio.filename,
        model=job.model,
        result=transcript and transcript_out(job, transcript, processing_time=job.compute_s or 0.0),
        error=_error(job),
    )


def transcript_out(job: Job, transcript: Transcript, *, processing_time: float) -> MicroserviceTranscript:
    """*transcript* with confidences; *processing_time* in seconds."""
    probability = transcript.language_probability
    if probability is None:
        probability = 1.0 if job.options.language else 0.0
    return MicroserviceTranscript(
        text=transcript.text,
        language=transcript.language,
        language_probability=round(probability, 4),
        duration=round(transcript.duration, 3),
        segments=[_segment(number, segment) for number, segment in enumerate(transcript.segments)],
        processing_time=round(processing_time, 3),
    )


def estimated_s(job: Job, workers: Iterable[WorkerInfo]) -> int:
    """
    Seconds until *job* is done: what is ahead of it and its own audio, at the *workers*' measured speed.

    Before any of them has been measured: as if they were as fast as speech.
    """
    if job.status.terminal:
        return 0
    rate = sum(worker.rate or 0.0 for worker in workers) or 1.0
    ahead = (job.queue and job.queue.audio_seconds_ahead) or 0.0
    left = job.progress.audio_seconds_total - job.progress.audio_seconds_done
    return max(1, math.ceil((ahead + max(0.0, left)) / rate))


def _segment(number: int, segment: Segment) -> MicroserviceSegment:
    words = None if segment.words is None else [_word(word) for word in segment.words]
    if words:
        confidence = sum(word.confidence for word in words) / len(words)
    else:
        confidence = math.exp(min(0.0, segment.avg_logprob))
    return MicroserviceSegment(
        id=number,
        start=round(segment.start, 3),
        end=round(segment.end, 3),
        text=segment.text.strip(),
        confidence=round(confidence, 4),
        words=words,
    )


def _word(word: Word) -> MicroserviceWord:
    confidence = min(1.0, max(0.0, word.probability))
    return MicroserviceWord(
        word=word.word.strip(), start=round(word.start, 3), end=round(word.end, 3), confidence=round(confidence, 4)
    )


def _error(job: Job) -> str | None:
    if job.failure is not None:
        return f"{job.failure.message} ({job.failure.code})"
    if job.status is JobStatus.CANCELED:
        return "the job was canceled"
    return JobExpired.of(job.id).message if job.status is JobStatus.EXPIRED else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
