"""What the platform tells of itself: its workers, what waits and runs, the ledger's server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transcription.job import Status
from transcription.lanes import ANY_LANGUAGE
from transcription.options import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """
    What a live worker says of itself.

    ``rate`` is its measured speed in audio-seconds per second, None at first. ``quarantine`` says why it claims
    nothing, or nothing for the models that it has ``withdrawn``; empty when all is well. ``diarizer`` tells speakers
    apart; empty where it can't. ``revisions`` are those of its models' weights, as far as it knows them. One that is
    ``draining`` finishes what it holds and then ends. ``version`` and ``commit`` are its code's.
    ``metrics`` is the host and port at which Prometheus finds it; empty where that finds it by itself.
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
    version: str = ""
    commit: str = ""
    draining: bool = False
    metrics: str = ""

    @property
    def fit(self) -> bool:
        """Whether it claims anything."""
        return not set(self.models) <= set(self.withdrawn)


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

    ``info`` is what its INFO says, by the names there. ``backup_at``: Unix seconds of the last good backup, 0: none;
    ``backup_every_s``: how often one is scheduled, 0: not at all.
    """

    info: Mapping[str, Any]
    backup_at: float = 0.0
    backup_every_s: float = 0.0

    @property
    def evicts(self) -> bool:
        """Whether it may throw keys away."""
        return bool(self.info.get("maxmemory_policy", "noeviction") != "noeviction")

    @property
    def aof_ok(self) -> bool:
        """Whether its append-only file's last write and rewrite succeeded."""
        return all(self.info.get(f"aof_last_{what}_status", "ok") == "ok" for what in ("write", "bgrewrite"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """
    What waits and what runs, over the whole platform. Ages and lengths in seconds.

    ``messages`` are webhooks not yet delivered, ``messages_overdue`` those that were due a minute ago and nobody sends.
    ``running_audio_s`` is what is left of the running spans, as far as their length is known.
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
    messages: int = 0
    messages_overdue: int = 0
    waiting: dict[Priority, Waiting] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    latencies: dict[tuple[str, Priority], Latency] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    used_bytes: int = 0
    max_bytes: int = 0
    writable: bool = True
    revisions: dict[str, str] = field(default_factory=dict)
    running_audio_s: float = 0.0

    @property
    def ledger_percent(self) -> float:
        """The ledger's memory in use, in percent of what it may use; 0 where it has no limit."""
        return 100 * self.used_bytes / self.max_bytes if self.max_bytes else 0.0
