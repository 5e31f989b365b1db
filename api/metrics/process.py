"""Figures of one API process for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from transcription.job import Outcome
from transcription.observability.process_metrics import ProcessFigures

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ApiMetrics:
    """What this process has counted since it started, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ProcessFigures())
        self._requests = Counter(
            "murmur_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "murmur_http_request_seconds",
            "Time from a request's first byte to the last byte of its response.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("murmur_http_requests_in_flight", "Requests in progress.", registry=self.registry)
        self._submits = Counter("murmur_submits", "Jobs accepted, by outcome.", ("outcome",), registry=self.registry)
        self._upload_bytes = Counter("murmur_upload_bytes", "Bytes of audio accepted.", registry=self.registry)
        self._rejects = Counter(
            "murmur_rejects", "Submits refused, by the error's code.", ("code",), registry=self.registry
        )
        self._memory = Gauge(
            "murmur_memory_percent",
            "Memory in use, as the memory limit for submits measures it.",
            registry=self.registry,
        )
        self.audit_lost = Counter(
            "murmur_audit_lines_lost", "Lines that couldn't be written to the audit log.", registry=self.registry
        )
        self._disk_free = Gauge("murmur_disk_free_bytes", "Free disk space for uploads.", registry=self.registry)
        self._disk = Gauge("murmur_disk_bytes", "Size of that disk.", registry=self.registry)
        self.accepted = 0
        self.rejected = 0
        self._submit_seconds = 0.0

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def submitted(self, outcome: Outcome, *, audio_bytes: int, seconds: float) -> None:
        """Count a submit that became a job."""
        self.accepted += 1
        self._submit_seconds += seconds
        self._submits.labels(outcome.value).inc()
        self._upload_bytes.inc(audio_bytes)

    def refused(self, code: str) -> None:
        """Count a submit that was refused."""
        self.rejected += 1
        self._rejects.labels(code).inc()

    def machine(self, *, memory_percent: float, disk_free: int, disk: int) -> None:
        """Note how the machine is: memory in percent, disk in bytes."""
        self._memory.set(memory_percent)
        self._disk_free.set(disk_free)
        self._disk.set(disk)

    @property
    def mean_submit_ms(self) -> float:
        """Mean time to accept a job, in milliseconds; 0 before the first."""
        return 1000 * self._submit_seconds / self.accepted if self.accepted else 0.0
