"""The ledger's figures for Prometheus: the whole platform's, the same from every replica."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.metrics.redis import redis_metrics
from transcription.errors import ComputeError, DiskFull, InvalidAudio, StorageUnavailable, leaves
from transcription.job import Outcome
from transcription.ports import Backlog, Server
from transcription.result_warning import WarningCode
from transcription.webhook import Verdict

_OUTCOMES = (Outcome.NEW, Outcome.JOINED, Outcome.CACHED)
_CAUSES = (InvalidAudio, ComputeError)
_ENDS = ("completed", "failed", "canceled")
_STAGES = ("decode", "vad", "compute")
_EVENTS = (
    ("claimed", "murmur_claims", "Spans that workers have claimed."),
    ("retried", "murmur_retries", "Failed attempts at a span that were followed by a retry."),
    (
        "faults",
        "murmur_platform_faults",
        "Attempts that failed through a fault of the platform; they don't count against the limit.",
    ),
    ("reaped", "murmur_reaps", "Spans taken from workers that died or hung."),
    ("released", "murmur_releases", "Spans that workers handed back, for example when they stop."),
)
_LATENCIES = (
    ("wait", "murmur_wait_seconds", "Old: see murmur_wait_duration_seconds; gone in version 0.3."),
    ("transcript", "murmur_transcript_seconds", "Old: see murmur_transcript_duration_seconds; gone in version 0.3."),
)


class LedgerFigures(Collector):
    """The ledger as one process saw it at a scrape. Scrape one replica for it, or take `max`, never `sum`."""

    def __init__(self, backlog: Backlog | None, server: Server | None) -> None:
        self._backlog = backlog
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """The figures, or only `murmur_ledger_up 0` when the ledger can't be reached."""
        up = self._backlog is not None and self._server is not None
        yield _gauge("murmur_ledger_up", "Whether the ledger answers.", up)
        if self._backlog is not None:
            yield from _waiting(self._backlog)
            yield from _workers(self._backlog)
            yield from _counters(self._backlog)
            yield from _webhooks(self._backlog)
            yield from _latencies(self._backlog)
        yield from redis_metrics(self._server)
        if self._server is not None:
            yield from _backups(self._server)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _waiting(backlog: Backlog) -> Iterable[Metric]:
    recordings = GaugeMetricFamily(
        "murmur_queue_recordings", "Recordings that wait and that no worker has begun.", labels=["priority"]
    )
    audio = GaugeMetricFamily("murmur_queue_audio_seconds", "Audio that waits.", labels=["priority"])
    oldest = GaugeMetricFamily(
        "murmur_queue_oldest_seconds", "How long the oldest recording not yet begun has waited.", labels=["priority"]
    )
    for priority, waiting in backlog.waiting.items():
        recordings.add_metric([priority.value], waiting.recordings)
        audio.add_metric([priority.value], waiting.audio_s)
        oldest.add_metric([priority.value], waiting.oldest_age_s or 0.0)
    yield from (recordings, audio, oldest)
    yield _gauge("murmur_queue_spans", "Spans that wait.", backlog.pending_spans)
    unserved = sum(lane.unserved for lane in backlog.lanes.values())
    yield _gauge("murmur_queue_unserved_recordings", "Recordings that no live worker suits.", unserved)
    yield _gauge("murmur_spans_running", "Spans that a worker holds a lease on.", backlog.running_spans)
    yield _gauge(
        "murmur_running_audio_seconds",
        "Audio that workers hold and haven't transcribed yet.",
        backlog.running_audio_s,
    )
    yield _gauge("murmur_dead_letters", "Failed computations that wait for an operator's decision.", backlog.dead)
    jobs = GaugeMetricFamily("murmur_jobs", "Jobs kept, by status.", labels=["status"])
    for status, count in backlog.jobs.items():
        jobs.add_metric([status.value], count)
    yield jobs


def _workers(backlog: Backlog) -> Iterable[Metric]:
    workers = backlog.workers
    yield _gauge("murmur_workers", "Workers alive.", len(workers))
    unfit = sum(bool(worker.quarantine) for worker in workers)
    yield _gauge(
        "murmur_workers_quarantined", "Workers in quarantine: they claim nothing, or not for every model.", unfit
    )
    yield _gauge(
        "murmur_slots", "Spans that the workers can process at the same time.", sum(worker.slots for worker in workers)
    )
    yield _gauge(
        "murmur_capacity_audio_seconds_per_second",
        "Sum of the workers' measured speeds.",
        sum(worker.rate or 0.0 for worker in workers),
    )
    busy = sum(worker.running > 0 and not worker.draining for worker in workers)
    yield _gauge("murmur_workers_busy", "Workers that hold a span and weren't told to stop.", busy)
    rates = [worker.rate for worker in workers if worker.rate]
    if rates:
        # Those that have measured nothing yet would only make the mean smaller.
        yield _gauge(
            "murmur_worker_speed_audio_seconds_per_second",
            "Mean measured speed of one worker.",
            sum(rates) / len(rates),
        )


def _counters(backlog: Backlog) -> Iterable[Metric]:
    totals = backlog.counters
    submits = CounterMetricFamily("murmur_recordings_submitted", "Submits, by outcome.", labels=["outcome"])
    for outcome in _OUTCOMES:
        submits.add_metric([outcome.value], totals.get(outcome.value, 0))
    ends = CounterMetricFamily("murmur_computations", "Computations that ended.", labels=["status"])
    for status in _ENDS:
        ends.add_metric([status], totals.get(f"computations_{status}", 0))
    failures = CounterMetricFamily("murmur_failures", "Computations that failed, by the error's code.", labels=["code"])
    # Those that were never seen begin at 0: an increase from nothing would be no increase.
    codes = [leaf.code for root in _CAUSES for leaf in leaves(root)]
    known = dict.fromkeys((*codes, DiskFull.code, StorageUnavailable.code), 0)
    for code, count in sorted((known | backlog.failures).items()):
        failures.add_metric([code], count)
    warnings = CounterMetricFamily(
        "murmur_result_warnings", "Warnings about incomplete results, by the warning's code.", labels=["code"]
    )
    for warning in WarningCode:
        warnings.add_metric([warning.value], backlog.warnings.get(warning.value, 0))
    stages = CounterMetricFamily("murmur_span_seconds", "Time that workers spent on committed spans.", labels=["stage"])
    for stage in _STAGES:
        stages.add_metric([stage], totals.get(f"{stage}_ms", 0) / 1000)
    yield from (submits, ends, failures, warnings, stages)
    yield CounterMetricFamily("murmur_audio_seconds", "Audio transcribed.", value=totals.get("audio_ms", 0) / 1000)
    for event, name, text in _EVENTS:
        yield CounterMetricFamily(name, text, value=totals.get(event, 0))


def _webhooks(backlog: Backlog) -> Iterable[Metric]:
    totals = backlog.counters
    yield _gauge("murmur_webhooks_pending", "Webhook messages that aren't delivered yet.", backlog.messages)
    yield _gauge(
        "murmur_webhooks_overdue", "Those that were due over a minute ago, and nobody sends.", backlog.messages_overdue
    )
    tries = CounterMetricFamily(
        "murmur_webhook_attempts", "Attempts to deliver a webhook, by outcome.", labels=["outcome"]
    )
    for verdict in Verdict:
        tries.add_metric([verdict.value], totals.get(f"webhooks_{verdict.value}", 0))
    yield tries
    yield CounterMetricFamily(
        "murmur_webhooks_given_up",
        "Webhook messages given up after MURMUR_WEBHOOK__GIVE_UP_S.",
        value=totals.get("webhooks_given_up", 0),
    )


def _latencies(backlog: Backlog) -> Iterable[Metric]:
    for key, name, text in _LATENCIES:
        family = HistogramMetricFamily(name, text, labels=["priority"])
        for (found, priority), latency in backlog.latencies.items():
            if found == key:
                family.add_metric([priority.value], list(latency.buckets), latency.sum_s)
        yield family


def _backups(server: Server) -> Iterable[Metric]:
    yield _gauge(
        "murmur_backup_last_success_timestamp_seconds",
        "When the last verified backup was taken, Unix seconds; 0: never.",
        server.backup_at,
    )
    yield _gauge(
        "murmur_backup_interval_seconds", "How often a backup is scheduled; 0: not at all.", server.backup_every_s
    )
