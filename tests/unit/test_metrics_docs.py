"""docs/metrics.md against the code: every metric with its type and labels, and none that isn't there."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from api.auth.rate_limits import RateLimits
from api.metrics.ledger import LedgerFigures
from api.metrics.process import ApiMetrics
from api.metrics.redis import _COUNTERS, _GAUGES
from api.openapi.examples import RESPONSES
from tests.memory_jobs import WORKER
from transcription.job import Outcome, Status
from transcription.observability.gpus import Gpu
from transcription.observability.old_metric_names import with_old_names
from transcription.options import Priority
from transcription.ports import Backlog, Latency, Server, Waiting
from transcription.settings import Settings
from worker.metrics import counters
from worker.metrics.endpoint import State, StateFigures

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+?) \|$", re.MULTILINE)
OLD = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`murmur_\w+`) \| `", PAGE, re.MULTILINE))))
BACKLOG = Backlog(
    pending_spans=0,
    pending_audio_s=0,
    running_spans=0,
    oldest_age_s=None,
    jobs={Status.QUEUED: 1},
    workers=(WORKER,),
    waiting={Priority.BATCH: Waiting(1, 2.0, 3.0)},
    latencies={(name, Priority.BATCH): Latency((("1.0", 1), ("+Inf", 2)), 3.0) for name in ("wait", "transcript")},
)
INFO = dict.fromkeys((*_GAUGES, *_COUNTERS), 1) | {
    **dict.fromkeys(("aof_last_write_status", "aof_last_bgrewrite_status"), "ok"),
    "role": "master",
    "redis_version": "8",
    "redis_mode": "standalone",
    "os": "Linux",
    "maxmemory_policy": "noeviction",
    "uptime_in_seconds": 5,
    "db0": {"keys": 7, "expires": 1, "avg_ttl": 0},
    "cmdstat_get": {"calls": 2, "usec": 3_000_000},
}
Known = dict[str, tuple[str, str]]


def documented(section: str) -> Known:
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text, f"docs/metrics.md has no section {section}"
    return {name: (kind, labels) for name, kind, labels, _ in ROW.findall(text[1])}


def in_code(registry: CollectorRegistry, *, old: bool = False) -> Known:
    """What a scrape shows: names, types and labels; of the old names only those where *old*, else none."""
    return in_text(generate_latest(registry).decode(), old=old)


def in_text(scrape: str, *, old: bool = False) -> Known:
    found: Known = {}
    for family in text_string_to_metric_families(scrape):
        labels = sorted({name for sample in family.samples for name in sample.labels if name != "le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if (name in OLD) == old:
            found[name] = (family.type, ", ".join(f"`{label}`" for label in labels))
    return found


def registry_of(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return with_old_names(registry)


def test_metrics_of_an_api_process_are_documented() -> None:
    api = ApiMetrics()
    RateLimits(Settings(), api.registry)
    api.answered(method="GET", route="/health", status=200, seconds=0.1)
    api.submitted(Outcome.NEW, audio_bytes=1, seconds=0.1)
    api.refused("too_large")
    assert documented("An API process") | documented("Every replica") == in_code(api.whole())


def test_metrics_of_the_ledger_are_documented() -> None:
    assert documented("The ledger") == in_code(registry_of(LedgerFigures(BACKLOG, Server(info=INFO))))


@pytest.mark.parametrize(
    ("operation", "section"), [("get_metrics", "An API process"), ("get_ledger_metrics", "The ledger")]
)
def test_the_openapi_document_shows_figures_that_are_there(operation: str, section: str) -> None:
    shown = in_text(RESPONSES[operation]["200", "text/plain"])
    assert shown
    assert shown.items() <= documented(section).items()


def test_metrics_of_a_worker_are_documented() -> None:
    with counters.stage("mel"), counters.batch(0, size=1, room=1):
        pass
    state = StateFigures(lambda: State(0, 1, 1), look_at_gpus=lambda: [Gpu("0", 1, 2, 0.5)])
    assert documented("A worker") == in_code(registry_of(counters.REGISTRY, state))


def test_every_old_name_is_there_beside_the_new_one_and_is_said_to_go() -> None:
    api = ApiMetrics()
    api.submitted(Outcome.NEW, audio_bytes=1, seconds=2.0)
    api.machine(memory_percent=40, disk_free=1, disk=2)
    whole, ledger = api.whole(), registry_of(LedgerFigures(BACKLOG, Server(info=INFO)))
    shown = [in_code(each, old=True) for each in (whole, ledger, registry_of(counters.REGISTRY))]
    assert {name for one in shown for name in one} == OLD
    assert whole.get_sample_value("murmur_memory_percent") == 40
    assert whole.get_sample_value("murmur_memory_used_ratio") == 0.4
    assert whole.get_sample_value("murmur_submit_seconds_total") == 2.0
    assert whole.get_sample_value("murmur_submit_duration_seconds_count") == 1
    helps = [metric.documentation for each in (whole, ledger) for metric in each.collect() if metric.name in OLD]
    assert all(re.search("Old.*gone in version 0.3", text) for text in helps)


@pytest.mark.parametrize(
    ("changed", "evicts", "aof_ok"),
    [({}, 0, 1), ({"maxmemory_policy": "allkeys-lru"}, 1, 1), ({"aof_last_bgrewrite_status": "err"}, 0, 0)],
)
def test_the_ledger_s_server_is_told_under_redis_exporter_s_names_and_the_old_ones(
    changed: dict[str, str], evicts: float, aof_ok: float
) -> None:
    shown = registry_of(LedgerFigures(None, Server(info=INFO | changed)))
    value = shown.get_sample_value
    labels = {"os": "Linux", "redis_mode": "standalone", "redis_version": "8", "role": "master"}
    assert value("redis_instance_info", labels | {"maxmemory_policy": changed.get("maxmemory_policy", "noeviction")})
    assert value("redis_aof_last_bgrewrite_status") == aof_ok == value("murmur_redis_aof_ok")
    assert value("murmur_redis_evicts") == evicts
    assert value("redis_db_keys", {"db": "db0"}) == 7
    assert value("redis_commands_duration_seconds_total", {"cmd": "get"}) == 3.0
    assert value("redis_up") == 1
    assert registry_of(LedgerFigures(None, None)).get_sample_value("redis_up") == 0


def test_names_carry_their_units_and_say_whose_they_are() -> None:
    for name, (kind, _) in {
        **documented("An API process"),
        **documented("The ledger"),
        **documented("A worker"),
        **documented("The edge"),
        **documented("Every replica"),
    }.items():
        assert name.startswith(("murmur_", "redis_", "nginx_", "process_", "python_info"))
        assert (kind == "counter") == name.endswith("_total")
        assert not name.endswith(("_ms", "_mb", "_minutes", "_percent"))


def test_dashboards_and_rules_name_only_metrics_that_are_there() -> None:
    names = {name for name, *_ in ROW.findall(PAGE)}
    files = [*(ROOT / "monitoring").rglob("*.json"), *(ROOT / "monitoring").rglob("*.yml")]
    asked = {
        found: file.name
        for file in files
        for found in re.findall(r"\b(?:murmur|redis|nginx|process)_\w+", file.read_text("utf-8"))
    }
    assert len(asked) > 30
    assert not asked.keys() & OLD
    for found, where in asked.items():
        assert re.sub(r"_(bucket|count|sum)$", "", found) in names, f"{where}: {found}"
