"""What a process takes of its machine, for Prometheus; the same names in the API and in a worker."""

from collections.abc import Callable, Iterable, Sequence

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessFigures(Collector):
    """
    Memory, time and age of this process, or of several together; on macOS too, where prometheus_client is silent.

    Args:
        together: Gives the processes that are counted; by default this one.
    """

    def __init__(self, together: Callable[[], Sequence[psutil.Process]] | None = None) -> None:
        own = psutil.Process()
        self._processes = together or (lambda: [own])

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        seen = [figures for process in self._processes() if (figures := _figures(process))]
        resident, seconds = sum(one[0] for one in seen), sum(one[1] for one in seen)
        began = min((one[2] for one in seen), default=0.0)
        yield GaugeMetricFamily("murmur_process_resident_bytes", "Memory that the process holds.", value=resident)
        yield CounterMetricFamily("murmur_process_cpu_seconds", "Processor time it has used.", value=seconds)
        yield GaugeMetricFamily("murmur_process_start_time_seconds", "When it started, Unix time.", value=began)


def _figures(process: psutil.Process) -> tuple[int, float, float] | None:
    """Resident bytes, processor seconds, start; None for one that has just ended."""
    try:
        with process.oneshot():
            times = process.cpu_times()
            return process.memory_info().rss, times.user + times.system, process.create_time()
    except psutil.NoSuchProcess:
        return None
