"""What a process takes of its machine, for Prometheus; the same names in the API and in a worker."""

from collections.abc import Iterable

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessFigures(Collector):
    """This process's memory, time and age; on macOS too, where prometheus_client's own collector is silent."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        times = self._process.cpu_times()
        resident = self._process.memory_info().rss
        yield GaugeMetricFamily("murmur_process_resident_bytes", "Memory that the process holds.", value=resident)
        yield CounterMetricFamily(
            "murmur_process_cpu_seconds", "Processor time it has used.", value=times.user + times.system
        )
        yield GaugeMetricFamily(
            "murmur_process_start_time_seconds", "When it started, Unix time.", value=self._process.create_time()
        )
