"""What the chart promises: who knows which secret, who reaches whom, what is kept, limited and waited for."""

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.uploads.json_form import JsonForm
from tests.compose_files import memory, stack
from tests.kubernetes.charts import ELSEWHERE, ROOT, Document, container, pods, profiles
from tests.platform import eventually
from transcription.network.addresses import is_public
from transcription.settings import Settings

BASE = profiles()["base"]
PODS = pods(BASE)
LABELS = {"app.kubernetes.io/name": "murmuration", "app.kubernetes.io/instance": "murmuration"}


def of(name: str) -> Document:
    return container(PODS[name])


def labels(component: str) -> Document:
    return {**LABELS, "app.kubernetes.io/component": component}


def named(kind: str, name: str, profile: str = "base") -> Document:
    return profiles()[profile][kind, f"murmuration-{name}"]


def environment(profile: str, component: str) -> dict[str, str]:
    """What a pod's settings are, where they aren't secrets."""
    found = profiles()[profile]
    told: dict[str, str] = {}
    one = container(pods(found)[component])
    for source in one.get("envFrom", ()):
        if "configMapRef" in source:
            told |= found["ConfigMap", source["configMapRef"]["name"]]["data"]
    return told | {entry["name"]: entry["value"] for entry in one.get("env", ()) if "value" in entry}


def settings_of(profile: str, component: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(profile, component).items():
        monkeypatch.setenv(name, value)
    return Settings()


# ---------------------------------------------------------------- who may do what


@pytest.mark.parametrize("profile", sorted(profiles()))
def test_a_pod_may_do_no_more_than_it_must(profile: str) -> None:
    told = pods(profiles()[profile])
    assert {"api", "worker", "redis-cache"} <= set(told)
    for pod in told.values():
        assert pod["automountServiceAccountToken"] is False
        own = pod["securityContext"]
        assert own["runAsNonRoot"] is True
        assert own["runAsUser"] >= 999
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in (*pod["containers"], *pod.get("initContainers", ())):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    accounts = [document for (kind, _), document in profiles()[profile].items() if kind == "ServiceAccount"]
    assert len(accounts) >= 2
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    assert not {"Role", "ClusterRole", "RoleBinding"} & {kind for kind, _ in profiles()[profile]}


def test_the_namespace_of_the_plain_manifests_refuses_pods_that_may_do_more() -> None:
    text = (ROOT / "deploy" / "kubernetes" / "base" / "murmuration.yaml").read_text("utf-8")
    namespace = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def secrets(profile: str) -> dict[str, set[str]]:
    """Every secret, and its key where it is one, that a component's pod can read."""
    told: dict[str, set[str]] = {}
    for component, pod in pods(profiles()[profile]).items():
        known = told.setdefault(component, set())
        for one in (*pod["containers"], *pod.get("initContainers", ())):
            known |= {source["secretRef"]["name"] for source in one.get("envFrom", ()) if "secretRef" in source}
            for entry in one.get("env", ()):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    known.add(f"{reference['name']}/{reference['key']}")
        known |= {volume["secret"]["secretName"] for volume in pod.get("volumes", ()) if "secret" in volume}
    return told


def test_a_worker_which_decodes_what_strangers_send_knows_the_ledger_s_password_alone() -> None:
    assert secrets("base") == {
        "api": {"murmuration-api", "murmuration-redis/password"},
        "worker": {"murmuration-redis/password"},
        "models": set(),
        "redis": {"murmuration-redis/password"},
        "redis-cache": {"murmuration-redis/password"},
    }
    bucket = {"bucket/AWS_ACCESS_KEY_ID", "bucket/AWS_SECRET_ACCESS_KEY"}
    assert secrets("elsewhere") == {
        "api": {"ledger/url", "password/password", "keys", *bucket},
        # It fetches the models itself here, before it starts: the hub's token is its init container's alone.
        "worker": {"ledger/url", "keys", "hub", *bucket},
        "backup": {"ledger/url", "keys", "backups/AWS_ACCESS_KEY_ID", "backups/AWS_SECRET_ACCESS_KEY"},
        "redis-cache": {"password/password"},
    }
    worker = pods(profiles()["elsewhere"])["worker"]
    assert "hub" not in str(worker["containers"])
    assert "keys" not in str(worker["initContainers"][0]["volumeMounts"])


def test_what_only_the_api_needs_is_not_in_a_worker_s_environment() -> None:
    told = environment("base", "worker")
    assert not {name for name in told if name.startswith(("MURMUR_API__", "MURMUR_SECURITY__", "MURMUR_WEBHOOK__"))}
    assert "MURMUR_LEDGER__CACHE_URL" not in told
    # So that webhooks are sent all the same:
    assert told["MURMUR_WORKER__WEBHOOKS"] == "false"
    assert environment("base", "api")["MURMUR_API__HOUSEKEEPING"] == "true"


def test_redis_asks_for_a_password_of_a_secret_that_its_clients_have() -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "murmuration-redis", "key": "password"}}}
    for name in ("redis", "redis-cache"):
        assert of(name)["env"] == [{"name": "REDISCLI_AUTH", **secret}]
        assert "--requirepass $(REDISCLI_AUTH)" in of(name)["args"]
    ledger = {"name": "MURMUR_LEDGER__URL", "value": "redis://:$(REDIS_PASSWORD)@murmuration-redis:6379/0"}
    cache = {"name": "MURMUR_LEDGER__CACHE_URL", "value": "redis://:$(REDIS_PASSWORD)@murmuration-redis-cache:6379/0"}
    # Kubernetes fills in what was named before.
    assert of("api")["env"] == [{"name": "REDIS_PASSWORD", **secret}, ledger, cache]
    assert of("worker")["env"][:2] == [{"name": "REDIS_PASSWORD", **secret}, ledger]


def test_who_names_no_secret_gets_a_password_that_nobody_could_guess() -> None:
    made = profiles()["defaults"]["Secret", "murmuration-redis"]
    assert len(made["data"]["password"]) >= 48
    # An upgrade, and an uninstall, leave it.
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "Secret" not in {kind for kind, _ in BASE}


# ---------------------------------------------------------------- who reaches whom


def space(name: str) -> Document:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def some(*components: str) -> Document:
    return {
        "matchLabels": LABELS,
        "matchExpressions": [
            {"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)}
        ],
    }  # fmt: skip


def policies(profile: str) -> dict[str, Document]:
    found = profiles()[profile]
    return {
        name.removeprefix("murmuration-"): document["spec"]
        for (kind, name), document in found.items()
        if kind == "NetworkPolicy"
    }


LEDGER = {"to": [{"podSelector": {"matchLabels": labels("redis")}}], "ports": [{"port": 6379}]}
CACHE = {"to": [{"podSelector": {"matchLabels": labels("redis-cache")}}], "ports": [{"port": 6379}]}
INSIDE = ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
INTERNET = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": INSIDE}}, {"ipBlock": {"cidr": "2000::/3"}}]
NAMES = {
    "to": [
        {**space("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
}


def test_nobody_reaches_anything_but_by_the_ways_that_are_named() -> None:
    both = ["Ingress", "Egress"]
    assert policies("base") == {
        "closed": {"podSelector": {"matchLabels": LABELS}, "policyTypes": both},
        "names": {
            "podSelector": some("api", "worker", "models", "backup"), "policyTypes": ["Egress"], "egress": [NAMES],
        },
        "api": {
            "podSelector": {"matchLabels": labels("api")},
            "policyTypes": both,
            "ingress": [{"from": [space("ingress-nginx"), space("monitoring")], "ports": [{"port": 8000}]}],
            "egress": [LEDGER, CACHE, {"to": INTERNET}],
        },
        "worker": {
            "podSelector": {"matchLabels": labels("worker")},
            "policyTypes": both,
            "ingress": [{"from": [space("monitoring")], "ports": [{"port": 9464}]}],
            # Not the internet: who breaks the decoder reaches nobody to tell.
            "egress": [LEDGER],
        },
        "models": {
            "podSelector": {"matchLabels": labels("models")},
            "policyTypes": ["Egress"],
            "egress": [{"to": INTERNET, "ports": [{"port": 443}]}],
        },
        "redis": {
            "podSelector": {"matchLabels": labels("redis")},
            "policyTypes": both,
            "ingress": [{"from": [{"podSelector": some("api", "worker", "backup")}], "ports": [{"port": 6379}]}],
            "egress": [],
        },
        "redis-cache": {
            "podSelector": {"matchLabels": labels("redis-cache")},
            "policyTypes": both,
            "ingress": [{"from": [{"podSelector": {"matchLabels": labels("api")}}], "ports": [{"port": 6379}]}],
            "egress": [],
        },
    }  # fmt: skip


def test_where_redis_and_the_bucket_are_elsewhere_they_are_all_that_is_reached_there() -> None:
    told = policies("elsewhere")
    ledger = {"to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}], "ports": [{"port": 6380}]}
    bucket = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 9000}]}
    hub = {"to": INTERNET, "ports": [{"port": 443}]}
    assert told["worker"]["egress"] == [ledger, bucket, hub]
    assert told["api"]["egress"] == [ledger, CACHE, {"to": INTERNET}, bucket]
    assert told["backup"]["egress"] == [ledger, hub]
    assert "redis" not in told
    assert "models" not in told


@pytest.mark.parametrize("profile", sorted(profiles()))
def test_every_pod_is_closed_by_the_policy_for_all(profile: str) -> None:
    selector = policies(profile)["closed"]["podSelector"]["matchLabels"]
    templates = [
        document["spec"].get("jobTemplate", {}).get("spec", document["spec"])["template"]["metadata"]["labels"]
        for (kind, _), document in profiles()[profile].items()
        if kind in {"Deployment", "StatefulSet", "Job", "CronJob"}
    ]
    assert len(templates) >= 3
    assert all(selector.items() <= told.items() for told in templates)


def test_nothing_that_is_public_to_a_policy_is_inside_to_the_platform() -> None:
    inside = [ip_network(network) for network in INSIDE]
    for address in ("10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1"):
        assert not is_public(address)
        assert any(ip_address(address) in network for network in inside)
    assert not any(ip_address("8.8.8.8") in network for network in inside)


@pytest.mark.parametrize("address", ["10.244.3.7", "100.64.7.9", "172.20.1.1", "192.168.99.4", "fd00::7"])
def test_a_pod_of_any_private_network_says_who_the_client_is_and_reads_the_figures(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters have their pods in 10/8, in 100.64/10, in 172.16/12 or in 192.168/16."""
    security = settings_of("base", "api", monkeypatch).security
    for told in (security.trusted_proxies, security.metrics):
        assert any(ip_address(address) in ip_network(one) for one in told.split(","))
        assert not any(ip_address("8.8.8.8") in ip_network(one) for one in told.split(","))


@pytest.mark.parametrize(("name", "port"), [("api", 80), ("redis", 6379), ("redis-cache", 6379)])
def test_a_service_leads_to_the_port_where_its_pods_listen(name: str, port: int) -> None:
    spec = named("Service", name)["spec"]
    assert spec["selector"] == labels(name)
    (way,) = spec["ports"]
    assert way["port"] == port
    (listening,) = of(name)["ports"]
    assert way.get("targetPort", listening["name"]) == listening["name"]
    assert "type" not in spec  # within the cluster alone


# ---------------------------------------------------------------- the edge


def test_what_is_published_requires_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for profile in ("defaults", "base", "operated"):
        assert (
            environment(profile, "api")["MURMUR_PROFILE"]
            == environment(profile, "worker")["MURMUR_PROFILE"]
            == "strict"
        )
    settings = settings_of("base", "api", monkeypatch)
    assert settings.security.require_keys
    assert settings.security.docs == "closed"


def test_figures_and_administration_are_closed_from_outside() -> None:
    (rule,) = named("Ingress", "api")["spec"]["rules"]
    ways = {path["path"]: (path["pathType"], path["backend"]["service"]["name"]) for path in rule["http"]["paths"]}
    closed = "murmuration-closed"
    assert ways == {"/": ("Prefix", "murmuration-api"), "/metrics": ("Prefix", closed), "/admin": ("Prefix", closed)}
    route = named("HTTPRoute", "api", "operated")["spec"]
    led = {rule["matches"][0]["path"]["value"]: rule["backendRefs"] for rule in route["rules"]}
    assert led == {
        "/metrics": [{"name": closed, "port": 80}],
        "/admin": [{"name": closed, "port": 80}],
        "/": [{"name": "murmuration-api", "port": 80}],
    }
    assert all(rule["matches"][0]["path"]["type"] == "PathPrefix" for rule in route["rules"])
    for profile in ("base", "operated"):
        selector = named("Service", "closed", profile)["spec"]["selector"]
        assert selector["app.kubernetes.io/component"] not in pods(profiles()[profile])
    (secured,) = named("Ingress", "api")["spec"]["tls"]
    assert rule["host"] in secured["hosts"]
    assert route["hostnames"] == secured["hosts"]


def test_the_ingress_keeps_what_the_edge_of_the_compose_stack_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("base", "api", monkeypatch)
    annotations = named("Ingress", "api")["metadata"]["annotations"]
    told = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in annotations.items()}
    assert told == {
        "proxy-request-buffering": "off",
        "proxy-buffering": "off",
        "proxy-body-size": str(JsonForm().body_limit(settings.limits.max_upload_bytes)),
        "proxy-read-timeout": f"{settings.api.max_sync_s:g}",
        "proxy-send-timeout": "300",
        "proxy-connect-timeout": "1",
        "proxy-next-upstream": "error timeout",
        "limit-rps": "100",
        "limit-connections": "200",
    }
    assert named("Ingress", "api")["spec"]["ingressClassName"] == "nginx"
    longest = named("HTTPRoute", "api", "operated")["spec"]["rules"][-1]["timeouts"]
    assert longest == {"request": f"{settings.api.max_sync_s:g}s", "backendRequest": f"{settings.api.max_sync_s:g}s"}


# ---------------------------------------------------------------- who is well, and who waits


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
    for probe, flags in (("startupProbe", []), ("livenessProbe", ["--alive"])):
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
    before = named("Deployment", "worker")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
    after = named("Deployment", "worker", "gpu")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
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


# ---------------------------------------------------------------- what is kept


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
