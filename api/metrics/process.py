"""Figures of one API for Prometheus: of its process, or of all its processes together."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.metrics.ledger_answers import LedgerAnswers
from transcription.job import Outcome
from transcription.observability.build import BuildFigures
from transcription.observability.old_metric_names import with_old_names
from transcription.observability.process_metrics import ProcessCollector, ReplicaCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable: the directory in which the processes of one API count together."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ApiMetrics:
    """What this process has counted since it started, in a registry of its own; `whole` is what all have counted."""

    def __init__(self) -> None:
        # several processes that count together have none
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "murmur_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "murmur_http_request_duration_seconds",
            "Time from a request's first byte to the last byte of its response.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "murmur_http_requests_in_flight",
            "Requests in progress.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.submits_in_flight = Gauge(
            "murmur_submits_in_flight",
            "Submits that are being received, or aren't accepted yet.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._submits = Counter("murmur_submits", "Jobs accepted, by outcome.", ("outcome",), registry=self.registry)
        self._submit_seconds = Histogram(
            "murmur_submit_duration_seconds",
            "Time from a submit's first byte to its acceptance.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._upload_bytes = Counter("murmur_upload_bytes", "Bytes of audio accepted.", registry=self.registry)
        self._rejects = Counter(
            "murmur_rejects", "Submits refused, by the error's code.", ("code",), registry=self.registry
        )
        self.audit_lost = Counter(
            "murmur_audit_lines_lost", "Lines that couldn't be written to the audit log.", registry=self.registry
        )
        self._starts = Counter(
            "murmur_api_process_starts",
            "Processes that this replica has started: more than it has is a process that died.",
            registry=self.registry,
        )
        self._starts.inc()
        self._memory = self._seen(
            "murmur_memory_used_ratio", "Share of the memory in use, as the memory limit for submits measures it."
        )
        self._disk_free = self._seen("murmur_disk_free_bytes", "Free disk space for uploads.")
        self._disk = self._seen("murmur_disk_bytes", "Size of that disk.")
        self.ledger = LedgerAnswers(self.registry)
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _seen(self, name: str, text: str) -> Gauge:
        """A figure of the machine: whichever process looked last knows it."""
        return Gauge(name, text, registry=self.registry, multiprocess_mode="mostrecent")

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            series = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
            self._series[key] = series
        series[0].inc()
        series[1].observe(seconds)

    def submitted(self, outcome: Outcome, *, audio_bytes: int, seconds: float) -> None:
        """Count a submit that became a job."""
        self._submit_seconds.observe(seconds)
        self._submits.labels(outcome.value).inc()
        self._upload_bytes.inc(audio_bytes)

    def refused(self, code: str) -> None:
        """Count a submit that was refused."""
        self._rejects.labels(code).inc()

    def machine(self, *, memory_percent: float, disk_free: int, disk: int) -> None:
        """Note how the machine is: memory in percent, disk in bytes."""
        self._memory.set(memory_percent / 100)
        self._disk_free.set(disk_free)
        self._disk.set(disk)

    def whole(self) -> CollectorRegistry:
        """What every process of this API has counted, added up; what was renamed under its old name too."""
        self.ledger.flush()
        together = CollectorRegistry()
        together.register(_AllProcesses() if SHARED in os.environ else self.registry)
        together.register(ProcessCollector(_family if SHARED in os.environ else None))
        together.register(BuildFigures())
        together.register(ReplicaCollector("api", socket.gethostname()))
        PlatformCollector(registry=together)
        return with_old_names(together)

    @property
    def accepted(self) -> int:
        """Submits that became jobs."""
        return int(self._total(self._submits, "murmur_submits_total"))

    @property
    def rejected(self) -> int:
        """Submits that were refused."""
        return int(self._total(self._rejects, "murmur_rejects_total"))

    @property
    def mean_submit_ms(self) -> float:
        """Mean time to accept a job, in milliseconds; 0 before the first."""
        accepted = self.accepted
        return (
            1000 * self._total(self._submit_seconds, "murmur_submit_duration_seconds_sum") / accepted
            if accepted
            else 0.0
        )

    def _total(self, own: MetricWrapperBase, name: str) -> float:
        families: Iterable[Metric] = (_AllProcesses() if SHARED in os.environ else own).collect()
        return float(sum(sample.value for family in families for sample in family.samples if sample.name == name))


class _AllProcesses(Collector):
    """What the processes have written into the directory that they share. A file that has just been made is empty."""

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in Path(os.environ[SHARED]).glob("*.db") if _is_begun(file)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return found


def _is_begun(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # its process has ended
        return False


def _family() -> list[psutil.Process]:
    """The processes of this API: the parent, whose age is the replica's, and those that it has started."""
    try:
        parent = psutil.Process(os.getppid())
        return [parent, *parent.children()]
    except psutil.NoSuchProcess:
        return [psutil.Process()]
