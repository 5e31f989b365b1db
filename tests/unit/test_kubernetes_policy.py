"""What the manifests of `deploy/kubernetes/` promise: who reaches whom, what is watched, kept, limited, waited for."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from api.uploads.json_form import JsonForm
from tests.compose_files import ROOT, memory
from transcription.network.addresses import is_public
from transcription.settings import Settings

HOME = ROOT / "deploy" / "kubernetes"
BASE = HOME / "base"
Document = dict[str, Any]


def documents() -> dict[tuple[str, str], Document]:
    found = {}
    for path in sorted(BASE.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if document["kind"] != "Kustomization":
                found[document["kind"], document["metadata"]["name"]] = document
    return found


ALL = documents()
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text("utf-8"))
WORKLOADS = {
    name: ALL[kind, name]
    for kind, name in (
        ("Deployment", "api"), ("Deployment", "worker"), ("StatefulSet", "redis"), ("Deployment", "redis-cache"),
    )
}  # fmt: skip
PODS = {name: workload["spec"]["template"]["spec"] for name, workload in WORKLOADS.items()}
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}
ANNOTATIONS = ALL["Ingress", "api"]["metadata"]["annotations"]


def literals() -> dict[str, str]:
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert generated["name"] == "settings"
    return dict(literal.split("=", 1) for literal in generated["literals"])


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in literals().items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    pod, container = PODS[name], CONTAINERS[name]
    assert len(pod["containers"]) == 1
    assert pod["automountServiceAccountToken"] is False
    own = pod["securityContext"]
    assert own["runAsNonRoot"] is True
    assert own["runAsUser"] >= 999
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    labels = ALL["Namespace", "murmuration"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("api", "256Mi", "1Gi"), ("worker", "3Gi", "6Gi"), ("redis", "1Gi", "3Gi"), ("redis-cache", "64Mi", "384Mi")],
)
def test_a_pod_asks_for_what_it_needs_and_keeps_to_its_limit(name: str, least: str, most: str) -> None:
    resources = CONTAINERS[name]["resources"]
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == (least, most)
    assert resources["requests"]["cpu"]


def test_a_worker_has_the_cores_that_it_lays_its_model_out_on() -> None:
    resources = CONTAINERS["worker"]["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "4"
    # The others are never held back while the node has cores to spare.
    assert all("cpu" not in CONTAINERS[name]["resources"]["limits"] for name in ("api", "redis", "redis-cache"))


# ---------------------------------------------------------------- who reaches whom


def test_nobody_reaches_anything_but_by_the_ways_that_are_named() -> None:
    ours = either("api", "worker")
    policies = {name: document["spec"] for (kind, name), document in ALL.items() if kind == "NetworkPolicy"}
    assert policies == {
        "closed": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "names": {
            "podSelector": ours,
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [space("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
                }
            ],
        },
        "outbound": {
            "podSelector": ours,
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"podSelector": either("redis", "redis-cache")}], "ports": [{"port": 6379}]},
                {"to": [{"ipBlock": internet()}, {"ipBlock": {"cidr": "2000::/3"}}]},
            ],
        },
        "redis": {
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["redis", "redis-cache"]}]},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [
                        {
                            "podSelector": {
                                "matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "worker"]}]
                            }
                        }
                    ],
                    "ports": [{"port": 6379}],
                }
            ],
            "egress": [],
        },
        "api": {
            "podSelector": {"matchLabels": {"app": "api"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [space("ingress-nginx"), space("monitoring")], "ports": [{"port": 8000}]}],
        },
        "worker": {
            "podSelector": {"matchLabels": {"app": "worker"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [space("monitoring")], "ports": [{"port": 9464}]}],
        },
    }


def either(*names: str) -> Document:
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": list(names)}]}


def internet() -> Document:
    """What the manifest calls the open internet."""
    (way,) = [way for way in ALL["NetworkPolicy", "outbound"]["spec"]["egress"] if "ports" not in way]
    block: Document = way["to"][0]["ipBlock"]
    return block


def test_nothing_that_is_public_to_a_policy_is_inside_to_the_platform() -> None:
    everywhere, *inside = (ip_network(network) for network in (internet()["cidr"], *internet()["except"]))
    assert str(everywhere) == "0.0.0.0/0"
    for address in ("10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1"):
        assert not is_public(address)
        assert any(ip_address(address) in network for network in inside)
    assert not any(ip_address("8.8.8.8") in network for network in inside)


def test_redis_asks_for_a_password_of_a_secret_that_its_clients_have() -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    for name in ("redis", "redis-cache"):
        assert CONTAINERS[name]["env"] == [{"name": "REDISCLI_AUTH", **secret}]
        assert "--requirepass $(REDISCLI_AUTH)" in CONTAINERS[name]["args"]
    for name in ("api", "worker"):
        # Kubernetes fills in what was named before.
        assert CONTAINERS[name]["env"] == [
            {"name": "REDIS_PASSWORD", **secret},
            {"name": "MURMUR_LEDGER__URL", "value": "redis://:$(REDIS_PASSWORD)@redis:6379/0"},
            {"name": "MURMUR_LEDGER__CACHE_URL", "value": "redis://:$(REDIS_PASSWORD)@redis-cache:6379/0"},
        ]


def space(name: str) -> Document:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_figures_and_administration_are_closed_from_outside() -> None:
    (rule,) = ALL["Ingress", "api"]["spec"]["rules"]
    ways = {path["path"]: (path["pathType"], path["backend"]["service"]["name"]) for path in rule["http"]["paths"]}
    assert ways == {"/": ("Prefix", "api"), "/metrics": ("Prefix", "closed"), "/admin": ("Prefix", "closed")}
    labels = [workload["spec"]["template"]["metadata"]["labels"]["app"] for workload in WORKLOADS.values()]
    assert ALL["Service", "closed"]["spec"]["selector"]["app"] not in labels
    (secured,) = ALL["Ingress", "api"]["spec"]["tls"]
    assert rule["host"] in secured["hosts"]


@pytest.mark.parametrize(("name", "port"), [("api", 80), ("redis", 6379), ("redis-cache", 6379)])
def test_a_service_leads_to_the_port_where_its_pods_listen(name: str, port: int) -> None:
    spec = ALL["Service", name]["spec"]
    assert spec["selector"] == {"app": name}
    (way,) = spec["ports"]
    assert way["port"] == port
    (listening,) = CONTAINERS[name]["ports"]
    assert way.get("targetPort", listening["name"]) == listening["name"]
    assert "type" not in spec  # within the cluster alone


# ---------------------------------------------------------------- the edge


def test_the_ingress_keeps_what_the_edge_of_the_compose_stack_keeps(settings: Settings) -> None:
    told = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in ANNOTATIONS.items()}
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
    assert ALL["Ingress", "api"]["spec"]["ingressClassName"] == "nginx"


# ---------------------------------------------------------------- who is well, and who waits


def test_replicas_are_judged_without_the_ledger() -> None:
    api = CONTAINERS["api"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert api[probe]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert api["readinessProbe"]["periodSeconds"] <= 5
    assert api["livenessProbe"]["failureThreshold"] >= 3
    assert api["livenessProbe"]["periodSeconds"] * api["livenessProbe"]["failureThreshold"] <= 60


def test_workers_are_judged_by_their_heartbeats_and_given_time_to_begin() -> None:
    worker = CONTAINERS["worker"]
    check = ["python", "-IS", "worker/health_check.py"]
    # A worker that has quarantined itself lives: starting it again would mend nothing.
    for probe, flags in (("startupProbe", []), ("livenessProbe", ["--alive"])):
        assert worker[probe]["exec"]["command"] == [*check, *flags]
        assert worker[probe]["timeoutSeconds"] == 5
    assert worker["startupProbe"]["periodSeconds"] * worker["startupProbe"]["failureThreshold"] >= 120
    # Three missed minutes aren't death: an outage of the ledger is no reason to start a worker again.
    assert worker["livenessProbe"]["periodSeconds"] * worker["livenessProbe"]["failureThreshold"] >= 120
    for name in ("redis", "redis-cache"):
        assert CONTAINERS[name]["readinessProbe"] == {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 5}


def test_a_stop_waits_for_what_is_under_way(settings: Settings) -> None:
    (pause,) = [int(part) for part in CONTAINERS["api"]["lifecycle"]["preStop"]["exec"]["command"] if part != "sleep"]
    assert pause >= 5
    assert settings.api.stop_s > settings.api.max_wait_s
    assert PODS["api"]["terminationGracePeriodSeconds"] > pause + settings.api.stop_s
    assert PODS["worker"]["terminationGracePeriodSeconds"] >= 30
    assert PODS["redis"]["terminationGracePeriodSeconds"] >= 60


def test_a_rollout_and_a_drained_node_leave_enough_of_everything() -> None:
    strategies = {
        name: workload["spec"].get("strategy", {}).get("rollingUpdate") for name, workload in WORKLOADS.items()
    }
    assert strategies == {
        "api": {"maxUnavailable": 0, "maxSurge": 1},
        "worker": {"maxUnavailable": "25%", "maxSurge": "25%"},
        "redis": None,
        "redis-cache": None,
    }
    budgets = {name: document["spec"] for (kind, name), document in ALL.items() if kind == "PodDisruptionBudget"}
    assert budgets == {
        "api": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "api"}}},
        "redis": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "redis"}}},
        "worker": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "worker"}}},
    }
    (spread,) = PODS["api"]["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["topologyKey"]) == (1, "kubernetes.io/hostname")
    assert spread["labelSelector"] == {"matchLabels": {"app": "api"}}


def test_the_api_grows_with_its_work_and_there_are_always_two() -> None:
    spec = ALL["HorizontalPodAutoscaler", "api"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    # A number here would fight with the autoscalers.
    assert all("replicas" not in WORKLOADS[name]["spec"] for name in ("api", "worker"))


def test_workers_grow_with_the_backlog_and_go_slowly() -> None:
    spec = ALL["ScaledObject", "worker"]["spec"]
    assert spec["scaleTargetRef"] == {"name": "worker"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["pollingInterval"]) == (1, 50, 15)
    assert spec["fallback"] == {"failureThreshold": 4, "replicas": 3}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"], trigger["metadata"]["threshold"]) == (
        "prometheus",
        "AverageValue",
        "300",
    )
    assert trigger["metadata"]["query"].split() == [
        "sum(murmur_queue_audio_seconds)",
        "/",
        *[
            "clamp_min(sum(murmur_capacity_audio_seconds_per_second)",
            "/",
            "clamp_min(max(murmur_workers),",
            "1),",
            "1)",
        ],
    ]


# ---------------------------------------------------------------- what is kept


def test_what_is_kept_lies_where_everybody_looks(settings: Settings) -> None:
    mounts = {
        name: {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
        for name, container in CONTAINERS.items()
    }
    assert mounts == {
        "api": {"/data": "data", "/tmp": "tmp"},
        "worker": {"/data": "data", "/data/models": "models", "/tmp": "tmp"},
        "redis": {"/data": "ledger"},
        "redis-cache": {},
    }
    assert str(settings.data_dir) == "/data"
    assert str(settings.model_dir) == "/data/models"
    claims = {name: document["spec"] for (kind, name), document in ALL.items() if kind == "PersistentVolumeClaim"}
    assert {
        name: (claim["accessModes"], claim["resources"]["requests"]["storage"]) for name, claim in claims.items()
    } == {
        "data": (["ReadWriteMany"], "100Gi"),
        "models": (["ReadWriteMany"], "20Gi"),
    }
    for name in ("api", "worker"):
        volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "data"}
        assert volumes["tmp"]["emptyDir"]["sizeLimit"]
        assert PODS[name]["securityContext"]["fsGroup"] == PODS[name]["securityContext"]["runAsUser"] == 10001
    (template,) = WORKLOADS["redis"]["spec"]["volumeClaimTemplates"]
    assert template["metadata"]["name"] == "ledger"
    assert template["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}


def test_the_ledger_never_forgets_and_the_cache_may() -> None:
    def options(args: list[str]) -> dict[str, str]:
        assert args[0] == "redis-server"
        return dict(one.removeprefix("--").split(" ", 1) for one in args[1:])

    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for name in ("redis", "redis-cache"):
        known = {key: value for key, value in options(compose[name]["command"]).items() if "$" not in value}
        told = options(CONTAINERS[name]["args"])
        assert {key: told[key] for key in known} == known
        assert set(told) - set(known) <= {"maxmemory", "requirepass"}
        assert CONTAINERS[name]["image"] == compose[name]["image"]
        assert memory(CONTAINERS[name]["resources"]["limits"]["memory"]) > memory(told["maxmemory"])
    assert options(CONTAINERS["redis"]["args"])["maxmemory"] == "1gb"
    assert WORKLOADS["redis"]["spec"]["replicas"] == WORKLOADS["redis-cache"]["spec"]["replicas"] == 1
    assert WORKLOADS["redis"]["spec"]["serviceName"] == "redis"


def test_settings_are_these_and_secrets_come_from_elsewhere() -> None:
    assert literals() == {
        "MURMUR_MODEL": "base",
        "MURMUR_DATA_DIR": "/data",
        "MURMUR_API__HOST": "0.0.0.0",
        "MURMUR_API__STOP_S": "65",
        "MURMUR_WORKER__METRICS_PORT": "9464",
        "MURMUR_SECURITY__TRUSTED_PROXIES": "10.0.0.0/8",
        "MURMUR_SECURITY__METRICS": "10.0.0.0/8",
    }
    for name in ("api", "worker"):
        assert CONTAINERS[name]["envFrom"] == [
            {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "settings", "optional": True}},
        ]
    assert KUSTOMIZATION["namespace"] == "murmuration"


def test_workers_with_a_gpu_have_one_each_and_find_its_nodes() -> None:
    overlay = yaml.safe_load((HOME / "gpu" / "kustomization.yaml").read_text("utf-8"))
    (patch,) = overlay["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": "worker"}
    steps = {step["path"].rpartition("/")[2]: step["value"] for step in yaml.safe_load(patch["patch"])}
    assert steps["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert steps["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    # Beside what the base has there.
    assert steps["-"] == {"name": "MURMUR_DEVICE", "value": "cuda"}
    resources = steps["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
    assert overlay["images"] == [{"name": "registry.example.com/murmuration-worker", "newTag": "cuda"}]


def test_workers_that_compute_in_torch_are_those_with_a_gpu_and_another_image() -> None:
    overlay = yaml.safe_load((HOME / "gpu-torch" / "kustomization.yaml").read_text("utf-8"))
    assert overlay["resources"] == ["../gpu"]
    assert overlay["images"] == [{"name": "registry.example.com/murmuration-worker", "newTag": "torch"}]
    ((step,),) = (yaml.safe_load(patch["patch"]) for patch in overlay["patches"])
    assert step["value"] == {"name": "MURMUR_WORKER__ENGINE", "value": "torch"}
