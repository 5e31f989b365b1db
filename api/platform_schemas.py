"""What goes over the wire about the platform: workers, queue, figures, models, languages."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from transcription.job import Status
from transcription.languages import LANGUAGES
from transcription.ports import WorkerInfo


class WorkerOut(BaseModel):
    """A live worker."""

    id: str = Field(examples=["one@host"])
    models: list[str]
    engine: str = Field(examples=["faster_whisper"])
    device: str = Field(examples=["cpu"])
    compute_type: str = Field(examples=["int8"])
    slots: int = Field(description="Spans that it works on at the same time.")
    host: str
    started_at: datetime
    rate: float | None = Field(description="Measured audio-seconds per second; null at first.")
    running: int = Field(description="Spans being processed.")
    traits: list[str] = Field(description="What jobs may ask for, as `device=cpu`.")
    layout: str = Field(description="How its threads and cores are laid out.")
    quarantine: str = Field(description="Why it claims nothing, or nothing for what is withdrawn; empty: all is well.")
    withdrawn: list[str] = Field(description="Models that it claims nothing for.")
    diarizer: str = Field(description="Its speaker network; empty: it doesn't diarize.")
    revisions: dict[str, str] = Field(description="Hash of each model's weights, for those that it has read.")
    version: str = Field(description="Version of its code; empty for versions that don't say it.")
    commit: str = Field(description="Commit of its code; `unknown` where nothing says so.")
    draining: bool = Field(description="Whether it was told to stop and finishes what it holds.")


class UnservedOut(BaseModel):
    """Recordings that no live worker can take."""

    model: str
    needs: list[str] = Field(description="What else a worker must have.", examples=[["device=cuda"]])
    recordings: int


class WaitingOut(BaseModel):
    """What waits for a worker."""

    spans: int
    audio_seconds: float
    oldest_age_s: float | None = Field(description="Of the recording that waits longest; null where none does.")


class StatsQueueOut(WaitingOut):
    """What waits, what is in work, and what nobody can take."""

    running_spans: int
    unserved: list[UnservedOut]


class CacheOut(BaseModel):
    """How often work was already done."""

    hits: int = Field(description="Submits that were answered from a result.")
    joined: int = Field(description="Submits that joined a running computation.")
    hit_ratio: float | None = Field(description="Hits of all submits; null before the first.")


class RequestsOut(BaseModel):
    """Submits at this process since it started."""

    accepted: int
    rejected: int


class StatsOut(BaseModel):
    """The platform in figures."""

    jobs: dict[Status, int] = Field(description="Jobs by state.")
    queue: StatsQueueOut
    workers: list[WorkerOut]
    cache: CacheOut
    dead_letters: int
    counters: dict[str, int] = Field(description="What has happened since the ledger began, by name.")
    requests: RequestsOut


class QueueHealthOut(BaseModel):
    """The queue and the workers behind it."""

    status: str
    ledger: bool
    queue: WaitingOut
    running_spans: int
    workers: list[WorkerOut]


class ModelOut(BaseModel):
    """A name that can be asked for, as OpenAI's clients know models, with what is known besides."""

    id: str = Field(examples=["whisper-1"])
    object: Literal["model"] = "model"
    created: int = Field(description="When the first of its workers started, in seconds since 1970.")
    owned_by: str = Field(examples=["murmuration"])
    alias_of: str | None = Field(description="The model that it is an alias of; null for a model's own name.")
    default: bool = Field(description="What a job gets that names none.")
    engines: list[str]
    devices: list[str]
    compute_types: list[str]
    workers: int = Field(description="Live ones that serve it.")


class ModelsOut(BaseModel):
    """Every name that can be asked for."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class LanguageOut(BaseModel):
    """A language that Whisper knows."""

    code: str = Field(description="ISO 639-1, or 639-3 where there is none.", examples=["de"])
    name: str = Field(examples=["german"])


class LanguagesOut(BaseModel):
    """Every language that Whisper knows."""

    languages: list[LanguageOut]


class AliveOut(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


def worker_out(worker: WorkerInfo) -> WorkerOut:
    """A live worker for the wire; its process id stays here."""
    told = {name: value for name, value in asdict(worker).items() if name in WorkerOut.model_fields}
    return WorkerOut(**told | {"started_at": datetime.fromtimestamp(round(worker.started_at, 3), UTC)})


def languages_out() -> list[LanguageOut]:
    """The languages for the wire."""
    return [LanguageOut(code=code, name=name) for code, name in LANGUAGES.items()]
