"""Metrics under the names that they had in version 0.1, beside their own: for one version, then this file goes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry


@dataclass(frozen=True, slots=True)
class _Old:
    """
    How a metric was called.

    Attributes:
        name: Without a counter's `_total`.
        factor: The old value is the new one times this.
        of_sum: It was a counter: the sum of what is now a histogram.
    """

    name: str
    factor: float = 1.0
    of_sum: bool = False


_OLD: Mapping[str, _Old] = {
    "murmur_http_request_duration_seconds": _Old("murmur_http_request_seconds"),
    "murmur_submit_duration_seconds": _Old("murmur_submit_seconds", of_sum=True),
    "murmur_memory_used_ratio": _Old("murmur_memory_percent", factor=100),
    "murmur_worker_model_load_duration_seconds": _Old("murmur_worker_model_load_seconds", of_sum=True),
    "process_resident_memory_bytes": _Old("murmur_process_resident_bytes"),
    "process_cpu_seconds": _Old("murmur_process_cpu_seconds"),
    "process_start_time_seconds": _Old("murmur_process_start_time_seconds"),
    "redis_memory_used_bytes": _Old("murmur_redis_used_bytes"),
    "redis_memory_max_bytes": _Old("murmur_redis_max_bytes"),
    "redis_aof_enabled": _Old("murmur_redis_aof"),
    "redis_connected_clients": _Old("murmur_redis_clients"),
    "redis_commands_processed": _Old("murmur_redis_commands"),
}
"""By the names of now."""


class WithOldNames(Collector):
    """All that *registry* collects, and after each metric that has been renamed the same under its old name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """The metrics of now, twice where they had another name."""
        for metric in self._registry.collect():
            yield metric
            if metric.name in _OLD:
                yield _renamed(metric, _OLD[metric.name])


def with_old_names(registry: CollectorRegistry) -> CollectorRegistry:
    """A registry of *registry*'s metrics and of their old names."""
    both = CollectorRegistry()
    both.register(WithOldNames(registry))
    return both


def _renamed(metric: Metric, old: _Old) -> Metric:
    kind = "counter" if old.of_sum else metric.type
    renamed = Metric(old.name, f"Old name of {metric.name}; gone in version 0.3.", kind)
    for sample in metric.samples:
        name = old.name + sample.name.removeprefix(metric.name)
        if old.of_sum:
            if not sample.name.endswith("_sum"):
                continue
            name = old.name + "_total"
        renamed.add_sample(name, sample.labels, sample.value * old.factor)
    return renamed
