"""The scaler over a day: the chart's own queries, thresholds and behaviour, and recordings as they come and go."""

import random
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.autoscaler import SYNC_S, Autoscaler, Trigger
from tests.kubernetes.charts import ROOT, Document, profiles
from tests.kubernetes.workshop import STEP_S, Workshop, arrivals
from tests.monitoring.server import needs

DAY_S = 24 * 3600
# When Prometheus is away: with a heap of work, in the afternoon's plenty, and in the quiet of the evening.
AWAY = [(11 * 3600, 11.5 * 3600), (14.25 * 3600, 14.5 * 3600), (20 * 3600, 20.25 * 3600)]
ARCHIVE_S = 14 * 3600

SCALER = profiles()["base"]["ScaledObject", "murmuration-worker"]["spec"]
BEHAVIOR: Document = SCALER["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
BACKLOG, BUSY = SCALER["triggers"]
DRAIN_S = float(profiles()["base"]["ConfigMap", "murmuration-worker"]["data"]["MURMUR_WORKER__DRAIN_S"])


def backlog(figures: Mapping[str, float] | None, speed: float | None) -> float | None:
    """The backlog's query; a test below holds it to what Prometheus makes of the chart's."""
    if figures is None:
        return None
    waits = figures["murmur_queue_audio_seconds"] + figures["murmur_running_audio_seconds"]
    return waits / max(speed or 1.0, 0.1)


class Day:
    """What happened from midnight to midnight, a sample each step."""

    def __init__(self, seed: int, *, away: bool = True) -> None:
        rng = random.Random(seed)
        self.workshop = Workshop(DRAIN_S, rng)
        self.seen: list[dict[str, float] | None] = []
        self.replicas: list[int] = []
        self.wait_s: list[float] = []
        scaler = Autoscaler(BEHAVIOR, SCALER["minReplicaCount"], SCALER["maxReplicaCount"])
        triggers = [Trigger(float(one["metadata"]["threshold"]), SCALER["fallback"]) for one in SCALER["triggers"]]
        speed: float | None = None
        self.workshop.scale(0, 1)
        for at in range(0, DAY_S, STEP_S):
            self.workshop.arrive(arrivals(at, rng))
            self.workshop.step(at)
            told = self.workshop.figures(at)
            gone = away and any(start <= at < end for start, end in AWAY)
            seen = None if gone else told
            self.seen.append(seen)
            if seen:
                speed = seen.get("murmur_worker_speed_audio_seconds_per_second", speed)
            current = len(self.workshop.serving)
            answers = [backlog(seen, speed), seen["murmur_workers_busy"] if seen else None]
            metrics = [
                (trigger.metric(answer, current), trigger.threshold)
                for trigger, answer in zip(triggers, answers, strict=True)
            ]
            self.workshop.scale(at, scaler.replicas(at, current, metrics))
            self.replicas.append(len(self.workshop.serving))
            left = told["murmur_queue_audio_seconds"] + told["murmur_running_audio_seconds"]
            self.wait_s.append(left / (20 * max(1, current)))

    def at(self, second: float) -> int:
        return self.replicas[int(second) // STEP_S]


@cache
def day(seed: int = 1, *, away: bool = True) -> Day:
    return Day(seed, away=away)


SEEDS = (1, 2, 3)


def test_the_simulation_is_of_what_ships() -> None:
    assert STEP_S == SYNC_S == SCALER["pollingInterval"]
    assert SCALER["scaleTargetRef"] == {"name": "murmuration-worker"}
    assert [one["metricType"] for one in SCALER["triggers"]] == ["AverageValue", "AverageValue"]
    assert [one["metadata"]["ignoreNullValues"] for one in SCALER["triggers"]] == ["false", "false"]
    assert BEHAVIOR["scaleDown"]["stabilizationWindowSeconds"] >= 600
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    asked = {name for one in SCALER["triggers"] for name in re.findall(r"murmur_\w+", one["metadata"]["query"])}
    assert len(asked) == 4
    assert all(f"`{name}`" in page for name in asked)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_worker_has_work_taken_away(seed: int) -> None:
    told = day(seed)
    assert told.workshop.drained_busy > 0  # the controller did choose busy ones
    assert told.workshop.handed_back == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_come_and_go_with_the_day_and_do_not_flap(seed: int) -> None:
    told = day(seed)
    assert max(told.replicas) > 40
    assert told.replicas[-1] == 1
    assert told.at(4 * 3600) == 1
    steps = [
        (n * STEP_S, after - before) for n, (before, after) in enumerate(pairwise(told.replicas)) if after != before
    ]
    # Whoever goes isn't wanted back within a window: that would be a start for nothing.
    downs = [at for at, by in steps if by < 0]
    again = [at for at, by in steps if by > 0 and any(0 < at - down < 600 for down in downs)]
    assert again == []
    turns = sum((one > 0) != (other > 0) for (_, one), (_, other) in pairwise(steps))
    # Up in the morning, up and down with the archive, down in the evening, and where Prometheus was away at night.
    assert turns <= 9


@pytest.mark.parametrize("seed", SEEDS)
def test_what_waits_is_worked_off_in_bounded_time(seed: int) -> None:
    told = day(seed)
    ordinary = [wait for n, wait in enumerate(told.wait_s) if not ARCHIVE_S <= n * STEP_S < ARCHIVE_S + 3600]
    assert max(ordinary[8:]) < 600
    # 300 hours at once, at fifty workers' speed: eighteen minutes, and the start.
    assert told.wait_s[(ARCHIVE_S + 45 * 60) // STEP_S] < 600
    assert sum(told.workshop.queue) < 300 * 60


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("away", AWAY)
def test_without_metrics_nothing_is_taken_away(seed: int, away: tuple[float, float]) -> None:
    told = day(seed)
    before, during = told.at(away[0] - STEP_S), told.replicas[int(away[0]) // STEP_S : int(away[1]) // STEP_S]
    assert all(count >= before for count in during)
    assert sorted(during) == during
    # And there are three, where there were fewer.
    assert during[-1] >= SCALER["fallback"]["replicas"]


def test_with_nothing_but_the_queue_in_view_a_claimed_hour_would_lose_its_workers() -> None:
    """What the second trigger and the running audio are for: few, long spans in work and nothing that waits."""
    scaler = Autoscaler(BEHAVIOR, 1, 50)
    figures = {"murmur_queue_audio_seconds": 0.0, "murmur_running_audio_seconds": 6 * 600.0}
    naive = scaler.replicas(0, 6, [(0.0, 300)])
    for at in range(SYNC_S, 1200, SYNC_S):
        naive = scaler.replicas(at, naive, [(0.0, 300)])
    assert naive == 1
    shipped = Autoscaler(BEHAVIOR, 1, 50)
    count = 6
    for at in range(0, 1200, SYNC_S):
        count = shipped.replicas(at, count, [(backlog(figures, 20.0), 300), (6.0, 1)])
    assert count == 6


# ---------------------------------------------------------------- the real expressions


def ours(name: str, namespace: str = "murmuration") -> str:
    """The series *name* of the platform in a namespace."""
    metric, _, labels = name.rstrip("}").partition("{")
    return f'{metric}{{{labels and labels + ","}namespace="{namespace}"}}'


def series(values: list[float | None]) -> str:
    return " ".join("_" if value is None else repr(value) for value in values)


def promtool(tmp_path: Path, given: Mapping[str, list[float | None]], checks: list[dict[str, Any]]) -> None:
    """Ask the real engine. A sample that isn't there for more than five minutes is no sample."""
    test = {
        "interval": f"{STEP_S}s",
        "input_series": [{"series": ours(name), "values": series(values)} for name, values in given.items()],
        "promql_expr_test": checks,
    }
    asked(tmp_path, [test])


def asked(tmp_path: Path, tests: list[dict[str, Any]], rules: Path | None = None) -> str:
    """Have promtool run *tests*, with a file of rules or without; what it says where all of them pass."""
    cases = tmp_path / "cases.yml"
    told = {"rule_files": [str(rules)] if rules else [], "evaluation_interval": f"{STEP_S}s", "tests": tests}
    cases.write_text(yaml.safe_dump(told), "utf-8")
    ran = subprocess.run([needs("promtool"), "test", "rules", cases], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-3000:]
    return ran.stdout


def check(query: str, at: int, value: float | None) -> dict[str, Any]:
    return {
        "expr": query,
        "eval_time": f"{at}s",
        "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
    }


def test_the_simulation_s_numbers_are_prometheus_s_own_of_the_chart_s_queries(tmp_path: Path) -> None:
    told = day()
    names = {name for figures in told.seen if figures for name in figures}
    given: dict[str, list[float | None]] = {
        name: [figures.get(name) if figures else None for figures in told.seen] for name in names
    }
    # As the platform says it: the two priorities apart.
    waits = given.pop("murmur_queue_audio_seconds")
    given['murmur_queue_audio_seconds{priority="interactive"}'] = [None if one is None else 0.0 for one in waits]
    given['murmur_queue_audio_seconds{priority="batch"}'] = waits
    checks, speed = [], None
    for n, figures in enumerate(told.seen):
        at = n * STEP_S
        speed = (figures or {}).get("murmur_worker_speed_audio_seconds_per_second", speed)
        gone = min((at - start for start, _ in AWAY if at >= start), default=DAY_S)
        # An answer that is less than five minutes old is still one.
        if at % 450 == 0 and (figures or gone > 300):
            checks.append(check(BACKLOG["metadata"]["query"], at, backlog(figures, speed)))
            checks.append(check(BUSY["metadata"]["query"], at, figures["murmur_workers_busy"] if figures else None))
    assert len(checks) > 300
    assert sum(not one["exp_samples"] for one in checks) >= 4
    promtool(tmp_path, given, checks)


def test_another_platform_of_the_same_prometheus_is_not_counted(tmp_path: Path) -> None:
    names = re.findall(r"murmur_\w+", BACKLOG["metadata"]["query"] + BUSY["metadata"]["query"])
    test = {
        "interval": f"{STEP_S}s",
        "input_series": [
            {"series": ours(name, namespace), "values": series([value] * 3)}
            for name in names
            for namespace, value in (("murmuration", 8.0), ("staging", 1e6))
        ],
        "promql_expr_test": [check(BACKLOG["metadata"]["query"], 30, 2.0), check(BUSY["metadata"]["query"], 30, 8.0)],
    }
    asked(tmp_path, [test])


@pytest.mark.parametrize("missing", ["murmur_queue_audio_seconds", "murmur_running_audio_seconds"])
def test_half_of_the_backlog_is_no_backlog(missing: str, tmp_path: Path) -> None:
    given: dict[str, list[float | None]] = {
        "murmur_queue_audio_seconds": [600.0] * 3,
        "murmur_running_audio_seconds": [600.0] * 3,
        "murmur_worker_speed_audio_seconds_per_second": [4.0] * 3,
    }
    query = BACKLOG["metadata"]["query"]
    promtool(tmp_path, given, [check(query, 30, 300.0)])
    del given[missing]
    promtool(tmp_path, given, [check(query, 30, None)])


def test_a_speed_that_nobody_has_measured_yet_is_that_of_the_sound_and_the_last_one_is_remembered(
    tmp_path: Path,
) -> None:
    waits: list[float | None] = [600.0] * 200
    given = {"murmur_queue_audio_seconds": waits, "murmur_running_audio_seconds": waits}
    query = BACKLOG["metadata"]["query"]
    promtool(tmp_path, given, [check(query, 30, 1200.0)])
    given["murmur_worker_speed_audio_seconds_per_second"] = [4.0, 8.0]
    promtool(tmp_path, given, [check(query, 2900, 150.0)])


def test_the_autoscaler_without_keda_asks_the_same_and_keeps_the_same_pace() -> None:
    found = profiles()["operated"]
    spec = found["HorizontalPodAutoscaler", "murmuration-worker"]["spec"]
    assert spec["behavior"] == BEHAVIOR
    assert (spec["minReplicas"], spec["maxReplicas"]) == (SCALER["minReplicaCount"], SCALER["maxReplicaCount"])
    (group,) = found["PrometheusRule", "murmuration-scaling"]["spec"]["groups"]
    assert [rule["labels"] for rule in group["rules"]] == [{"namespace": "murmuration"}] * 2
    chosen = {one["external"]["metric"]["selector"]["matchLabels"]["namespace"] for one in spec["metrics"]}
    assert chosen == {"murmuration"}
    records = {rule["record"]: rule["expr"].strip() for rule in group["rules"]}
    external = {one["external"]["metric"]["name"]: one["external"]["target"] for one in spec["metrics"]}
    wanted = {records[name]: (target["type"], target["averageValue"]) for name, target in external.items()}
    assert wanted == {
        one["metadata"]["query"].strip(): (one["metricType"], one["metadata"]["threshold"])
        for one in SCALER["triggers"]
    }
