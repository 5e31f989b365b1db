"""docs/metrics.md against the code: every metric with its type and labels, and none that isn't there."""

import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import Metric

from api.auth.rate_limits import RateLimits
from api.metrics.ledger import LedgerFigures
from api.metrics.process import ApiMetrics
from tests.memory_jobs import WORKER
from transcription.job import Outcome, Status
from transcription.options import Priority
from transcription.ports import Backlog, Latency, Server, Waiting
from transcription.settings import Settings
from worker.metrics import counters
from worker.metrics.endpoint import State, StateFigures
from worker.metrics.gpu import Gpu

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(murmur_\w+)` \| (\w+) \| (.*?) \| (.+?) \|$", re.MULTILINE)
Known = dict[str, tuple[str, str]]


def documented(section: str) -> Known:
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text, f"docs/metrics.md has no section {section}"
    return {name: (kind, labels) for name, kind, labels, _ in ROW.findall(text[1])}


def in_code(*sources: Iterable[Metric]) -> Known:
    found: Known = {}
    for family in (family for source in sources for family in source):
        labels = sorted({name for sample in family.samples for name in sample.labels if name != "le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, ", ".join(f"`{label}`" for label in labels))
    return found


def test_metrics_of_an_api_process_are_documented() -> None:
    api = ApiMetrics()
    RateLimits(Settings(), api.registry)
    api.answered(method="GET", route="/health", status=200, seconds=0.1)
    api.submitted(Outcome.NEW, audio_bytes=1, seconds=0.1)
    api.refused("too_large")
    assert documented("An API process") | documented("Every process") == in_code(api.whole().collect())


def test_metrics_of_the_ledger_are_documented() -> None:
    backlog = Backlog(
        pending_spans=0,
        pending_audio_s=0,
        running_spans=0,
        oldest_age_s=None,
        jobs={Status.QUEUED: 1},
        workers=(WORKER,),
        waiting={Priority.BATCH: Waiting(1, 2.0, 3.0)},
        latencies={(name, Priority.BATCH): Latency((("1.0", 1), ("+Inf", 2)), 3.0) for name in ("wait", "transcript")},
    )
    server = Server(used_bytes=1, max_bytes=2, evicts=False, aof=True, aof_ok=True, clients=1, commands=1)
    assert documented("The ledger") == in_code(LedgerFigures(backlog, server).collect())


def test_metrics_of_a_worker_are_documented() -> None:
    with counters.stage("mel"), counters.batch(0, size=1, room=1):
        pass
    state = StateFigures(lambda: State(0, 1, 1), look_at_gpus=lambda: [Gpu("0", 1, 2, 0.5)])
    assert documented("A worker") == in_code(counters.REGISTRY.collect(), state.collect())


def test_names_carry_their_units_and_say_whose_they_are() -> None:
    for name, (kind, _) in {
        **documented("An API process"),
        **documented("The ledger"),
        **documented("A worker"),
        **documented("Every process"),
    }.items():
        assert name.startswith("murmur_")
        assert (kind == "counter") == name.endswith("_total")
        assert not name.endswith(("_ms", "_mb", "_minutes"))


def test_dashboards_and_rules_name_only_metrics_that_are_there() -> None:
    names = {name for name, *_ in ROW.findall(PAGE)}
    files = [*(ROOT / "monitoring").rglob("*.json"), *(ROOT / "monitoring").rglob("*.yml")]
    asked = {found: file.name for file in files for found in re.findall(r"\bmurmur_\w+", file.read_text("utf-8"))}
    assert len(asked) > 30
    for found, where in asked.items():
        assert re.sub(r"_(bucket|count|sum)$", "", found) in names, f"{where}: {found}"
