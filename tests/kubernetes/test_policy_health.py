"""What the chart promises: who is well, who is limited, and who waits for whom."""

import pytest

from tests.kubernetes.charts import pods, profiles
from tests.kubernetes.rendered import BASE, PODS, labels, named, of, settings_of


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("api", "256Mi", "1Gi"), ("worker", "3Gi", "6Gi"), ("redis", "1Gi", "3Gi"), ("redis-cache", "64Mi", "384Mi")],
)
def test_a_pod_asks_for_what_it_needs_and_keeps_to_its_limit(name: str, least: str, most: str) -> None:
    resources = of(name)["resources"]
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == (least, most)
    assert resources["requests"]["cpu"]


def test_a_worker_has_the_cores_that_it_lays_its_model_out_on() -> None:
    resources = of("worker")["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "4"
    # The others are never held back while the node has cores to spare.
    assert all("cpu" not in of(name)["resources"]["limits"] for name in ("api", "redis", "redis-cache"))


def test_replicas_are_judged_without_the_ledger() -> None:
    api = of("api")
    for probe in ("livenessProbe", "readinessProbe"):
        assert api[probe]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert api["readinessProbe"]["periodSeconds"] <= 5
    assert api["livenessProbe"]["failureThreshold"] >= 3
    assert api["livenessProbe"]["periodSeconds"] * api["livenessProbe"]["failureThreshold"] <= 60


def test_workers_are_judged_by_their_heartbeats_and_given_time_to_begin() -> None:
    worker = of("worker")
    check = ["python", "-IS", "worker/health_check.py"]
    # A worker that has quarantined itself lives: starting it again would mend nothing.
    # But it isn't ready, and a rollout waits for one that is.
    for probe, flags in (("startupProbe", []), ("readinessProbe", []), ("livenessProbe", ["--alive"])):
        assert worker[probe]["exec"]["command"] == [*check, *flags]
        assert worker[probe]["timeoutSeconds"] == 5
    assert worker["startupProbe"]["periodSeconds"] * worker["startupProbe"]["failureThreshold"] >= 120
    # Three missed minutes aren't death: an outage of the ledger is no reason to start a worker again.
    assert worker["livenessProbe"]["periodSeconds"] * worker["livenessProbe"]["failureThreshold"] >= 120
    for name in ("redis", "redis-cache"):
        assert of(name)["readinessProbe"] == {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 5}


def test_a_stop_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("base", "api", monkeypatch)
    (pause,) = [int(part) for part in of("api")["lifecycle"]["preStop"]["exec"]["command"] if part != "sleep"]
    assert pause >= 5
    assert settings.api.stop_s > settings.api.max_wait_s
    assert PODS["api"]["terminationGracePeriodSeconds"] > pause + settings.api.stop_s
    assert PODS["redis"]["terminationGracePeriodSeconds"] >= 60


def test_a_worker_that_is_to_go_finishes_the_span_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = settings_of("base", "worker", monkeypatch).worker
    # A span at the speed of the slowest worker that makes sense, that of the sound itself.
    assert worker.drain_s >= worker.span_s
    assert PODS["worker"]["terminationGracePeriodSeconds"] >= worker.drain_s + 20
    annotations = named("Deployment", "worker")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_new_settings_are_new_pods() -> None:
    for name in ("api", "worker"):
        before, after = (
            named("Deployment", name, profile)["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for profile in ("base", "gpu")
        )
        assert before != after


def test_a_rollout_and_a_drained_node_leave_enough_of_everything() -> None:
    strategies = {name: named("Deployment", name)["spec"]["strategy"]["rollingUpdate"] for name in ("api", "worker")}
    assert strategies == {
        "api": {"maxUnavailable": 0, "maxSurge": 1},
        "worker": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    budgets = {name: document["spec"] for (kind, name), document in BASE.items() if kind == "PodDisruptionBudget"}
    assert {name: (spec["maxUnavailable"], spec["selector"]["matchLabels"]) for name, spec in budgets.items()} == {
        "murmuration-api": (1, labels("api")),
        "murmuration-redis": (1, labels("redis")),
        "murmuration-worker": ("25%", labels("worker")),
    }
    for name in ("api", "worker"):
        spread = {one["topologyKey"]: one for one in PODS[name]["topologySpreadConstraints"]}
        assert set(spread) == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert all(one["labelSelector"] == {"matchLabels": labels(name)} for one in spread.values())


def test_the_ledger_and_the_api_go_before_workers_where_a_node_is_full() -> None:
    found = profiles()["operated"]
    told = {name: pod["priorityClassName"] for name, pod in pods(found).items()}
    assert told == {
        "api": "murmuration-serving", "redis": "murmuration-serving", "redis-cache": "murmuration-serving",
        "worker": "murmuration-computing", "models": "murmuration-computing", "backup": "murmuration-computing",
    }  # fmt: skip
    serving, computing = (found["PriorityClass", f"murmuration-{name}"] for name in ("serving", "computing"))
    assert serving["value"] > computing["value"]
    assert computing["preemptionPolicy"] == "Never"


def test_the_api_grows_with_its_work_and_there_are_always_two() -> None:
    spec = named("HorizontalPodAutoscaler", "api")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    # A number here would fight with the autoscalers.
    assert all("replicas" not in named("Deployment", name)["spec"] for name in ("api", "worker"))
    # And without them there must be one.
    assert named("Deployment", "worker", "defaults")["spec"]["replicas"] == 1
    assert named("Deployment", "api", "operated")["spec"]["replicas"] == 2
