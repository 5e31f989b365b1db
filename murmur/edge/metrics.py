"""The edge's metrics: requests as clients saw them, the replicas behind, nginx itself, and how many there should be."""

import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from murmur.edge.log import Answer, parse
from transcription.observability.build import BuildFigures
from transcription.observability.process_metrics import ProcessCollector, ReplicaCollector

SERVICES = ("api", "flower", "grafana", "nginx")
MOST_UPSTREAMS = 64
"""Addresses that are remembered: more than replicas that live at a time, so that upgrades don't add up for ever."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STATUS_S = 2.0
_CONNECTIONS = {
    "active": "Connections of clients, idle ones too.",
    "reading": "Connections on which nginx reads a request's head.",
    "writing": "Connections on which a request is in progress.",
    "waiting": "Idle connections.",
}


class EdgeMetrics:
    """What has been counted since this process started."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "murmur_edge_requests",
            "Requests that nginx answered, by whose answer it was and by the address of who was asked last.",
            ("service", "upstream", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "murmur_edge_request_duration_seconds",
            "Time from a request's first byte to the last byte of its response, at nginx.",
            ("service", "method"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._upstream_seconds = Histogram(
            "murmur_edge_upstream_duration_seconds",
            "Time that an upstream took to answer.",
            ("upstream",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failures = Counter(
            "murmur_edge_upstream_failures",
            "Tries at an upstream that gave no answer, whether or not another one then did.",
            ("upstream",),
            registry=self.registry,
        )
        self._unread = Counter(
            "murmur_edge_unreadable_lines", "Lines of nginx's log that couldn't be read.", registry=self.registry
        )
        self._seen: dict[str, set[str]] = {}
        for service in ("api", "nginx"):  # so that the first error is an increase
            self._requests.labels(service, "", "502").inc(0)

    def count(self, line: str) -> None:
        """Count one line of nginx's log."""
        answer = parse(line)
        if answer is None:
            self._unread.inc()
            return
        last = answer.attempts[-1].upstream if answer.attempts else ""
        self._remember(last, str(answer.status))
        self._requests.labels(answer.service, last, str(answer.status)).inc()
        self._seconds.labels(answer.service, answer.method).observe(answer.seconds)
        self._count_attempts(answer)

    def _count_attempts(self, answer: Answer) -> None:
        for number, attempt in enumerate(answer.attempts, 1):
            self._remember(attempt.upstream)
            # nginx asks another one only when this one gave nothing. Without a status it was the client who left.
            failed = attempt.status in (502, 504) or number < len(answer.attempts)
            self._failures.labels(attempt.upstream).inc(failed)
            if attempt.status and not failed:
                self._upstream_seconds.labels(attempt.upstream).observe(attempt.seconds)

    def _remember(self, upstream: str, status: str = "") -> None:
        """Forget the address that was seen the longest ago, when there are too many."""
        statuses = self._seen.pop(upstream, set())
        self._seen[upstream] = statuses | {status} if status else statuses
        if len(self._seen) > MOST_UPSTREAMS:
            oldest = next(iter(self._seen))
            for old in self._seen.pop(oldest):
                for service in SERVICES:
                    _forget(self._requests, service, oldest, old)
            _forget(self._failures, oldest)
            _forget(self._upstream_seconds, oldest)


class NginxStatus(Collector):
    """
    nginx's own `stub_status`, under the names of its exporter.

    Args:
        url: Where it answers. Every address of the host is asked, and what they say is added up.
        through: A page of nginx by way of its balancer; empty where it has none.
    """

    def __init__(self, url: str, through: str) -> None:
        self._url = url
        self._through = through

    def collect(self) -> Iterable[Metric]:
        """As it is now; `nginx_up 0` where nobody answers."""
        seen = [found for url in _everywhere(self._url) if (found := _status(url))]
        up = bool(seen) and (not self._through or _page(self._through) != "")
        yield GaugeMetricFamily(
            "nginx_up", "Whether nginx answers, through its balancer if it has one.", value=float(up)
        )
        if not seen:
            return
        for name, text in _CONNECTIONS.items():
            yield GaugeMetricFamily(f"nginx_connections_{name}", text, value=sum(one[name] for one in seen))
        answered = sum(one["requests"] for one in seen)
        yield CounterMetricFamily("nginx_http_requests", "Requests that nginx has taken.", value=answered)


class WantedReplicas(Collector):
    """How many replicas the stack's settings ask for, by service."""

    def __init__(self, wanted: Mapping[str, int]) -> None:
        self._wanted = wanted

    def collect(self) -> Iterable[Metric]:
        """A constant."""
        family = GaugeMetricFamily("murmur_wanted_replicas", "Replicas that the settings ask for.", labels=["service"])
        for service, count in self._wanted.items():
            family.add_metric([service], count)
        yield family


def registry(
    counted: EdgeMetrics, *, status_url: str, through_url: str, wanted: Mapping[str, int]
) -> CollectorRegistry:
    """All metrics of the edge."""
    whole = CollectorRegistry()
    whole.register(counted.registry)
    whole.register(NginxStatus(status_url, through_url))
    whole.register(WantedReplicas(wanted))
    whole.register(ProcessCollector())
    whole.register(BuildFigures())
    whole.register(ReplicaCollector("edge-metrics", socket.gethostname()))
    PlatformCollector(registry=whole)
    return whole


def _forget(metric: Counter | Histogram, *labels: str) -> None:
    with suppress(KeyError):
        metric.remove(*labels)


def _everywhere(url: str) -> list[str]:
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"{parts.scheme}://{host}:{parts.port or 80}{parts.path}" for host in hosts]


def _page(url: str) -> str:
    """What is answered there, at most 1000 bytes; nothing where nobody answers, or with an error."""
    try:
        with urlopen(url, timeout=_STATUS_S) as answer:  # noqa: S310  our own nginx
            text: str = answer.read(1000).decode()
    except (OSError, HTTPException, ValueError):
        return ""
    return text


def _status(url: str) -> dict[str, int] | None:
    text = _page(url)
    found = re.search(r"^ *\d+ +\d+ +(?P<requests>\d+)", text, re.MULTILINE)
    numbers = {name.lower(): int(value) for name, value in re.findall(r"(Reading|Writing|Waiting): (\d+)", text)}
    active = re.search(r"Active connections: (\d+)", text)
    if not found or not active or len(numbers) < 3:
        return None
    return {**numbers, "active": int(active[1]), "requests": int(found["requests"])}
