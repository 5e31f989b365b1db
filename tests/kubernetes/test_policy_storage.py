"""What the chart promises: what is kept, and where."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compose_files import memory, stack
from tests.kubernetes.charts import ELSEWHERE, ROOT, container, pods, profiles
from tests.kubernetes.rendered import BASE, PODS, environment, named, of, settings_of
from tests.platform import eventually


def test_what_is_kept_lies_where_everybody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {name: {mount["mountPath"]: mount["name"] for mount in of(name).get("volumeMounts", ())} for name in PODS}
    assert mounts == {
        "api": {"/data": "data", "/tmp": "tmp"},
        "worker": {"/data": "data", "/data/models": "models", "/tmp": "tmp"},
        "models": {"/data/models": "models", "/tmp": "tmp"},
        "redis": {"/data": "ledger"},
        "redis-cache": {},
    }
    settings = settings_of("base", "api", monkeypatch)
    assert str(settings.data_dir) == "/data"
    assert str(settings.model_dir) == "/data/models"
    claims = {name: document["spec"] for (kind, name), document in BASE.items() if kind == "PersistentVolumeClaim"}
    assert {
        name: (claim["accessModes"], claim["resources"]["requests"]["storage"]) for name, claim in claims.items()
    } == {
        "murmuration-data": (["ReadWriteMany"], "100Gi"),
        "murmuration-models": (["ReadWriteMany"], "20Gi"),
    }
    for name in ("api", "worker"):
        volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "murmuration-data"}
        assert volumes["tmp"]["emptyDir"]["sizeLimit"]
        assert PODS[name]["securityContext"]["fsGroup"] == PODS[name]["securityContext"]["runAsUser"] == 10001
    (template,) = named("StatefulSet", "redis")["spec"]["volumeClaimTemplates"]
    assert template["metadata"]["name"] == "ledger"
    assert template["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}


@pytest.mark.parametrize("profile", sorted(profiles()))
def test_what_is_kept_outlives_the_chart_s_removal(profile: str) -> None:
    """Of the ledger's own claim Kubernetes makes sure: a StatefulSet never takes it along."""
    found = profiles()[profile]
    kept = {name: one for (kind, name), one in found.items() if kind in ("PersistentVolumeClaim", "Secret")}
    assert kept or profile not in ("base", "defaults", "elsewhere")
    for name, one in kept.items():
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", name


def test_an_upgrade_of_the_chart_keeps_the_ledger_s_password() -> None:
    """`helm template` has no cluster to look into; what an upgrade would render can only be read."""
    text = (ROOT / "deploy" / "helm" / "murmuration" / "templates" / "redis.yaml").read_text("utf-8")
    assert '$before := lookup "v1" "Secret" .Release.Namespace $name' in text
    assert "password: {{ if $before }}{{ $before.data.password }}{{ else }}" in text


def test_recordings_in_a_bucket_need_no_volume_that_several_pods_write(monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiles()["elsewhere"]
    claims = {name: document["spec"] for (kind, name), document in found.items() if kind == "PersistentVolumeClaim"}
    assert {name: claim["accessModes"] for name, claim in claims.items()} == {"murmuration-backups": ["ReadWriteOnce"]}
    settings = settings_of("elsewhere", "worker", monkeypatch)
    assert (settings.blobs.url, settings.blobs.endpoint) == (ELSEWHERE["blobs"]["url"], ELSEWHERE["blobs"]["endpoint"])
    assert environment("elsewhere", "worker")["AWS_REGION"] == "eu"
    for name in ("api", "worker"):
        (data,) = [volume for volume in pods(found)[name]["volumes"] if volume["name"] == "data"]
        # The platform's own limit on copies comes before the pod's, which would evict it.
        assert memory(data["emptyDir"]["sizeLimit"]) > settings.blobs.cache_bytes


def test_a_worker_reads_models_that_a_job_has_fetched_and_starts_with_none_missing() -> None:
    worker, job = PODS["worker"], PODS["models"]
    (waits,) = worker["initContainers"]
    assert container(job)["command"] == ["python", "-m", "worker.download_models"]
    assert "until python -m worker.download_models;" in waits["command"][-1]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in waits["env"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container(worker)["env"]
    for one in (waits, container(worker)):
        (mount,) = [mount for mount in one["volumeMounts"] if mount["name"] == "models"]
        assert mount["readOnly"] is True
    assert waits["envFrom"] == container(job)["envFrom"] == container(worker)["envFrom"]
    # A Job can't be changed, so that of other models has another name.
    names = {name for profile in profiles() for kind, name in profiles()[profile] if kind == "Job"}
    assert len(names) == 5


def test_who_waits_for_models_goes_on_when_they_come_and_goes_at_once_when_told_to(tmp_path: Path) -> None:
    (waits,) = PODS["worker"]["initContainers"]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n[ -e {tmp_path}/there ]\n')
    python.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    asked = tmp_path / "asked"
    with subprocess.Popen(waits["command"], env=env) as waiting:
        eventually(asked.exists)
        assert waiting.poll() is None
        # Before the next look: a pod whose shell doesn't hear it is killed after its whole grace period.
        waiting.terminate()
        assert waiting.wait(5) == 1
    assert asked.read_text().splitlines() == ["-m worker.download_models"]
    (tmp_path / "there").touch()
    assert subprocess.run(waits["command"], env=env, check=False).returncode == 0


def test_the_ledger_never_forgets_and_the_cache_may() -> None:
    def options(args: list[str]) -> dict[str, str]:
        assert args[0] == "redis-server"
        return dict(one.removeprefix("--").split(" ", 1) for one in args[1:])

    compose = stack()["services"]
    for name in ("redis", "redis-cache"):
        others = [
            one for one in compose[name]["command"] if not one.startswith(("--requirepass", "--user", "--maxmemory "))
        ]
        known, told = options(others), options(of(name)["args"])
        assert {key: told[key] for key in known} == known
        assert set(told) - set(known) <= {"maxmemory", "requirepass"}
        assert of(name)["image"] == compose[name]["image"]
        assert memory(of(name)["resources"]["limits"]["memory"]) > memory(told["maxmemory"])
    assert options(of("redis")["args"])["maxmemory"] == "1gb"
    assert named("StatefulSet", "redis")["spec"]["replicas"] == 1
    assert named("StatefulSet", "redis")["spec"]["serviceName"] == "murmuration-redis"


def test_backups_are_taken_on_schedule_and_the_ledger_knows_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = named("CronJob", "backup", "elsewhere")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    one = container(pods(profiles()["elsewhere"])["backup"])
    assert one["command"] == ["murmur", "backup", "schedule", "--once"]
    backup = settings_of("elsewhere", "backup", monkeypatch).backup
    assert (backup.every_s, backup.keep, backup.url, str(backup.dir)) == (86_400, 14, "s3://bucket/backups", "/backups")
    assert spec["schedule"] == "0 3 * * *"
    pod = pods(profiles()["elsewhere"])["backup"]
    (claim,) = [volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert {"name": claim, "mountPath": str(backup.dir)} in one["volumeMounts"]
    # Only what is set is written down for the alert, a default isn't.
    assert "every_s" in backup.model_fields_set


@pytest.mark.parametrize("profile", sorted(profiles()))
@pytest.mark.parametrize(("component", "drain_s"), [("api", 0), ("worker", 300)])
def test_settings_are_settings_that_there_are(
    profile: str, component: str, drain_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(profile, component, monkeypatch)
    assert settings.worker.drain_s == drain_s
    (port,) = container(pods(profiles()[profile])[component])["ports"]
    assert port["containerPort"] == (settings.api.port if component == "api" else settings.worker.metrics_port)


def test_workers_with_a_gpu_have_one_each_and_find_its_nodes() -> None:
    for profile, tag, engine in (("gpu", "cuda", None), ("gpu-torch", "torch", "torch")):
        pod = pods(profiles()[profile])["worker"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        told = environment(profile, "worker")
        assert (told["MURMUR_DEVICE"], told.get("MURMUR_WORKER__ENGINE")) == ("cuda", engine)
        resources: dict[str, Any] = container(pod)["resources"]
        assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
        assert "cpu" not in resources["limits"]
        assert container(pod)["image"] == f"registry.example.com/murmuration-worker:{tag}"
        # The Job that fetches needs none.
        assert "nvidia.com/gpu" not in str(container(pods(profiles()[profile])["models"])["resources"])
