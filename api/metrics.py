"""Figures of one API process, and the ledger's, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from transcription.job import Outcome
from transcription.ports import Backlog

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Meters:
    """What this process has counted since it started, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "murmur_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "murmur_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("murmur_http_requests_in_flight", "Requests in work.", registry=self.registry)
        self._submits = Counter(
            "murmur_submits", "Jobs accepted, by what they met in the ledger.", ("outcome",), registry=self.registry
        )
        self._upload_bytes = Counter("murmur_upload_bytes", "Bytes of audio accepted.", registry=self.registry)
        self._rejects = Counter(
            "murmur_rejects", "Submits refused, by the error's code.", ("code",), registry=self.registry
        )
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

    @property
    def mean_submit_ms(self) -> float:
        """Mean time to accept a job, in milliseconds; 0 before the first."""
        return 1000 * self._submit_seconds / self.accepted if self.accepted else 0.0


class LedgerFigures(Collector):
    """The ledger as one process saw it at a scrape; every replica says the same, so take `max`, not `sum`."""

    def __init__(self, backlog: Backlog | None) -> None:
        self._backlog = backlog

    def collect(self) -> Iterable[Metric]:
        """The figures, or only `murmur_ledger_up 0` when the ledger can't be reached."""
        backlog = self._backlog
        yield GaugeMetricFamily("murmur_ledger_up", "Whether the ledger answers.", value=backlog is not None)
        if backlog is None:
            return
        yield GaugeMetricFamily("murmur_queue_spans", "Spans that wait.", value=backlog.pending_spans)
        yield GaugeMetricFamily("murmur_queue_audio_seconds", "Audio that waits.", value=backlog.pending_audio_s)
        yield GaugeMetricFamily(
            "murmur_queue_oldest_seconds", "How long the oldest span has waited.", value=backlog.oldest_age_s or 0.0
        )
        yield GaugeMetricFamily("murmur_spans_running", "Spans under a lease.", value=backlog.running_spans)
        yield GaugeMetricFamily("murmur_dead_letters", "Computations that were given up.", value=backlog.dead)
        yield GaugeMetricFamily("murmur_workers", "Workers alive.", value=len(backlog.workers))
        yield GaugeMetricFamily(
            "murmur_workers_audio_seconds_per_second",
            "The workers' measured speed together.",
            value=sum(worker.rate or 0.0 for worker in backlog.workers),
        )
        jobs = GaugeMetricFamily("murmur_jobs", "Jobs kept, by status.", labels=["status"])
        for status, count in backlog.jobs.items():
            jobs.add_metric([status.value], count)
        yield jobs
        events = CounterMetricFamily("murmur_ledger_events", "What the ledger has counted.", labels=["event"])
        for name, count in backlog.counters.items():
            events.add_metric([name], count)
        yield events
