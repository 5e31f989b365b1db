"""What a process takes of its machine, and which replica it is; the same names in the API and in a worker."""

import resource
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessCollector(Collector):
    """
    The `process_*` metrics that stock dashboards ask for, of this process or of several that are one replica.

    prometheus_client's own collector knows one process, and only Linux: it says nothing in multiprocess mode and on a
    Mac. Here the processes are added up under the same names.

    Args:
        replica: Gives the processes that are counted together, their parent first; by default this one alone.
    """

    def __init__(self, replica: Callable[[], Sequence[psutil.Process]] | None = None) -> None:
        own = psutil.Process()
        self._processes = replica or (lambda: [own])

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        usages = [usage for process in self._processes() if (usage := _usage(process))]
        totals = [sum(values) for values in zip(*map(astuple, usages), strict=True)] or [0.0] * 4
        cpu_s, resident, virtual, open_fds = totals
        started_at = min((_started_at(process.pid) for process in self._processes()), default=0.0)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield CounterMetricFamily("process_cpu_seconds", "Processor time used, user and system.", value=cpu_s)
        yield _gauge("process_resident_memory_bytes", "Memory held.", resident)
        yield _gauge("process_virtual_memory_bytes", "Address space taken.", virtual)
        yield _gauge("process_start_time_seconds", "When the replica started, Unix time.", started_at)
        yield _gauge("process_open_fds", "Open file descriptors.", open_fds)
        yield _gauge("process_max_fds", "Open file descriptors that are allowed.", float(limit) * len(usages))


class ReplicaCollector(Collector):
    """
    Which replica these metrics are of.

    Args:
        service: `api` or `worker`.
        replica: Its name, as in log lines and in Flower.
    """

    def __init__(self, service: str, replica: str) -> None:
        self._labels = {"service": service, "replica": replica}

    def collect(self) -> Iterable[Metric]:
        """One series, always 1: join it by `job` and `instance` to have the name beside another metric's value."""
        yield InfoMetricFamily(
            "murmur_replica", "Always 1; which replica it is, as logs and Flower call it.", self._labels
        )


@dataclass(frozen=True, slots=True)
class _Usage:
    """Of one process: processor seconds, with those of children that have ended; bytes; descriptors."""

    cpu_s: float
    resident_bytes: float
    virtual_bytes: float
    open_fds: float


@cache
def _started_at(pid: int) -> float:
    """Asked once: the system counts from its boot, whose time by the clock may be said differently the next time."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return time.time()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _usage(process: psutil.Process) -> _Usage | None:
    """None for a process that has just ended, and for one that is not ours to look at."""
    try:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            # With those that have ended, a counter that several processes share never falls.
            cpu_s = times.user + times.system + times.children_user + times.children_system
            return _Usage(cpu_s, memory.rss, memory.vms, process.num_fds())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
