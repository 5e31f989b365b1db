"""The worker's metrics endpoint: what the process has counted, and how it is now."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from transcription.observability.build import BuildFigures
from transcription.observability.gpus import Gpu, gpus
from transcription.observability.old_metric_names import with_old_names
from transcription.observability.process_metrics import ProcessCollector, ReplicaCollector
from worker.metrics import counters

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class State:
    """A worker as it is now; ``unfit`` names the parts that are in quarantine."""

    held: int
    slots: int
    models: int
    unfit: tuple[str, ...] = ()


class StateFigures(Collector):
    """The worker's state at a scrape, and its GPUs'."""

    def __init__(
        self, state: Callable[[], State], *, look_at_gpus: Callable[[], list[Gpu]] = lambda: gpus(os.environ)
    ) -> None:
        self._state = state
        self._look_at_gpus = look_at_gpus

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        state = self._state()
        yield GaugeMetricFamily("murmur_worker_spans_held", "Spans being processed.", value=state.held)
        yield GaugeMetricFamily(
            "murmur_worker_slots", "Spans that can be processed at the same time.", value=state.slots
        )
        yield GaugeMetricFamily("murmur_worker_models", "Models in memory.", value=state.models)
        unfit = GaugeMetricFamily(
            "murmur_worker_quarantined", "1 for each part that keeps the worker from claiming.", labels=["part"]
        )
        for part in dict.fromkeys(("storage", "scratch", *state.unfit)):
            unfit.add_metric([part], float(part in state.unfit))
        yield unfit
        used = GaugeMetricFamily("murmur_worker_gpu_used_bytes", "GPU memory in use, by anyone.", labels=["gpu"])
        total = GaugeMetricFamily("murmur_worker_gpu_total_bytes", "GPU memory.", labels=["gpu"])
        busy = GaugeMetricFamily(
            "murmur_worker_gpu_busy_ratio", "Share of the time in which the GPU computed.", labels=["gpu"]
        )
        for gpu in self._look_at_gpus():
            used.add_metric([gpu.index], gpu.used_bytes)
            total.add_metric([gpu.index], gpu.total_bytes)
            busy.add_metric([gpu.index], gpu.utilisation)
        yield from (used, total, busy)


def registry(name: str, state: Callable[[], State]) -> CollectorRegistry:
    """All metrics of the worker *name*; what was renamed under its old name too."""
    whole = CollectorRegistry()
    whole.register(counters.REGISTRY)
    whole.register(BuildFigures())
    whole.register(ProcessCollector())
    whole.register(ReplicaCollector("worker", name))
    PlatformCollector(registry=whole)
    whole.register(StateFigures(state))
    return with_old_names(whole)


def serve(port: int, name: str, state: Callable[[], State], *, ports: int = 1) -> int:
    """
    Answer `GET /metrics` on every address of this machine. A port that is taken is no reason not to work.

    Args:
        port: 0: nowhere.
        name: The worker's.
        state: Gives its state.
        ports: How many, from *port* on, may be tried: several workers of a machine need one each.

    Returns:
        The port; 0 where none could be had.
    """
    if not port:
        return 0
    for tried in range(port, port + ports):
        try:
            start_http_server(tried, registry=registry(name, state))
        except OSError as error:
            log.info("a port for metrics is taken", port=tried, error=str(error))
            continue
        return tried
    log.warning("no metrics", port=port)
    return 0
