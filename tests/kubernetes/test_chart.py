"""`deploy/helm/murmuration`: documents pass the published schemas, values are checked, nothing is there twice."""

import copy
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from kubernetes_validate import SchemaNotFoundError, ValidationError, utils, validate

from tests.kubernetes.charts import (
    CHART,
    ELSEWHERE,
    MANIFESTS,
    OPERATED,
    RENDER,
    ROOT,
    Document,
    answers,
    documents,
    pods,
    profiles,
    refused,
)  # fmt: skip

VERSIONS = ("1.31", "1.37")
# Of KEDA, the Gateway API and the Prometheus operator, from their own definitions as of August 2026 (Apache-2.0): the
# parts that the chart uses, all else closed. A field that is new here is looked up there and added.
FOREIGN = {
    name: jsonschema_rs.validator_for(schema)
    for name, schema in json.loads((Path(__file__).parent / "crds.json").read_text("utf-8")).items()
}
NAMES = ("defaults", "base", "gpu", "gpu-torch", "operated", "elsewhere")


# It reads megabytes of definitions anew for each document.
utils.schema_contents = cache(utils.schema_contents)


def faults(document: Document) -> list[str]:
    """What is wrong with a document; those that several profiles have are looked at once."""
    return _faults(json.dumps(document, sort_keys=True))


@cache
def _faults(text: str) -> list[str]:
    document: Document = json.loads(text)
    kind = f"{document['apiVersion']} {document['kind']}"
    if kind in FOREIGN:
        return [error.message for error in FOREIGN[kind].iter_errors(document)]
    try:
        for version in VERSIONS:
            assert validate(document, version, strict=True) == version
    except (ValidationError, SchemaNotFoundError) as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_every_document_passes_the_published_schemas(name: str) -> None:
    found = profiles()[name]
    assert len(found) > 20
    assert {key: told for key, document in found.items() if (told := faults(document))} == {}


def test_every_kind_is_rendered_by_some_profile() -> None:
    kinds = {kind for found in profiles().values() for kind, _ in found}
    written = {
        kind
        for path in (CHART / "templates").glob("*.yaml")
        for kind in re.findall(r"^kind: (\w+)$", path.read_text(), re.MULTILINE)
    }
    assert kinds == written
    assert {
        f"{document['apiVersion']} {kind}" for found in profiles().values() for (kind, _), document in found.items()
    } >= set(FOREIGN)


@pytest.mark.parametrize(
    ("profile", "kind", "way", "value"),
    [
        ("base", "Deployment", ("spec", "replica"), 2),
        ("base", "StatefulSet", ("spec", "replicas"), "two"),
        ("base", "Deployment", ("spec", "template", "spec", "containers", 0, "prots"), []),
        ("base", "ScaledObject", ("spec", "triggers", 0, "metrictype"), "Value"),
        ("base", "ScaledObject", ("spec", "fallback", "behavior"), "whatever"),
        ("operated", "HTTPRoute", ("spec", "rules", 0, "backendRef"), []),
        ("operated", "PodMonitor", ("spec", "podMetricsEndpoints", 0, "intervall"), "10s"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_manifest_is_found(profile: str, kind: str, way: tuple[Any, ...], value: Any) -> None:
    spoilt = copy.deepcopy(next(document for (one, _), document in profiles()[profile].items() if one == kind))
    assert not faults(spoilt)
    *before, last = way
    place: Any = spoilt
    for part in before:
        place = place[part]
    place[last] = value
    assert faults(spoilt)


def test_helm_s_own_linter_has_nothing_to_say() -> None:
    told = answers(*({"values": values, "lint": True} for values in ({}, OPERATED, ELSEWHERE)))
    assert len(told) == 3
    for one in told:
        assert one["lint"]["errors"] == []
        assert [message for message in one["lint"]["messages"] if message["severity"] > 1] == []


# ---------------------------------------------------------------- one source


def test_the_plain_manifests_are_what_the_chart_gives() -> None:
    ran = subprocess.run([sys.executable, RENDER, "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted(path.parent.name for path in MANIFESTS.glob("*/murmuration.yaml")) == ["base", "gpu", "gpu-torch"]
    for path in MANIFESTS.glob("*/kustomization.yaml"):
        assert yaml.safe_load(path.read_text("utf-8"))["resources"] == ["murmuration.yaml"]


def test_the_chart_s_archive_gives_what_the_chart_gives(tmp_path: Path) -> None:
    """Links lead out of the chart: what is published must bring along what they lead to."""
    ran = subprocess.run([sys.executable, RENDER, "--package", tmp_path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (answer,) = answers({"values": OPERATED, "chart": ran.stdout.strip()})
    assert documents(answer) == profiles()["operated"]


def inside(expression: str) -> bool:
    """Whether an alert asks for what a cluster has, whose edge nobody measures."""
    if re.search(r"\bnginx_|murmur_edge_", expression):
        return False
    known = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    ours = {job["job_name"] for job in known} & {"api", "ledger", "worker"}
    asked = [set(jobs.split("|")) for jobs in re.findall(r'job=~?"([^"]+)"', expression)]
    return all(jobs & ours for jobs in asked)


def test_alerts_and_dashboards_are_those_of_the_compose_stack_and_no_copies() -> None:
    files = CHART / "files"
    assert all(path.is_symlink() for path in files.iterdir())
    found = profiles()["operated"]
    told = found["PrometheusRule", "murmuration"]["spec"]["groups"]
    written = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in written for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    ours = [group | {"rules": [rule for rule in group["rules"] if inside(rule["expr"])]} for group in groups]
    assert told == [group for group in ours if group["rules"]]
    shown = {
        name: text
        for document in found.values()
        if document["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in document["data"].items()
    }
    dashboards = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    assert {name: text.rstrip("\n") for name, text in shown.items()} == {
        f"murmuration-{path.name}": path.read_text("utf-8").rstrip("\n") for path in dashboards
    }


def test_an_alert_on_what_only_the_compose_stack_has_is_left_out(tmp_path: Path) -> None:
    """It would be missing for ever."""
    chart = tmp_path / "murmuration"
    shutil.copytree(CHART, chart)  # the links' files
    rules = chart / "files" / "rules" / "murmuration.yml"
    group = {"name": "edge", "rules": [{"alert": "EdgeDown", "expr": 'absent(up{job="edge"} == 1)'}]}
    rules.write_text(yaml.safe_dump({"groups": [*yaml.safe_load(rules.read_text("utf-8"))["groups"], group]}), "utf-8")
    (answer,) = answers({"values": OPERATED, "chart": str(chart)})
    found = documents(answer)["PrometheusRule", "murmuration"]["spec"]["groups"]
    assert found == profiles()["operated"]["PrometheusRule", "murmuration"]["spec"]["groups"]


def test_jobs_are_scraped_under_the_names_that_alerts_and_dashboards_know() -> None:
    found = profiles()["operated"]
    known = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    paths = {job["job_name"]: job.get("metrics_path", "/metrics") for job in known}
    ours = {"targetLabel": "namespace", "replacement": "murmuration"}
    outside = found["ScrapeConfig", "murmuration-worker-outside"]["spec"]
    (there,) = next(job for job in known if job["job_name"] == "worker")["http_sd_configs"]
    (here,) = outside["httpSDConfigs"]
    assert here["url"] == there["url"].replace("api:8000", "murmuration-api.murmuration.svc")
    assert outside["metricsPath"] == paths["worker"]
    assert outside["relabelings"] == [{"targetLabel": "job", "replacement": "worker"}, ours]
    ledger = found["ScrapeConfig", "murmuration-ledger"]["spec"]
    assert ledger["metricsPath"] == paths["ledger"]
    assert ledger["staticConfigs"] == [{"targets": ["murmuration-api.murmuration.svc:80"]}]
    assert ledger["relabelings"] == [{"targetLabel": "job", "replacement": "ledger"}, ours]
    for name in ("api", "worker"):
        spec = found["PodMonitor", f"murmuration-{name}"]["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": name}]
        deployment = found["Deployment", f"murmuration-{name}"]["spec"]["template"]
        assert spec["selector"]["matchLabels"].items() <= deployment["metadata"]["labels"].items()
        assert endpoint["port"] in [port["name"] for port in deployment["spec"]["containers"][0]["ports"]]


def test_a_prometheus_without_the_operator_is_told_the_same_jobs() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((MANIFESTS / "scrape.yml").read_text("utf-8"))}
    assert set(jobs) == {"api", "ledger", "worker"}
    ours = {"namespace": "murmuration"}  # the scaler asks for its own
    assert jobs["ledger"]["static_configs"] == [{"targets": ["murmuration-api.murmuration.svc:80"], "labels": ours}]
    (outside,) = jobs["worker"]["http_sd_configs"]
    assert outside["url"] == "http://murmuration-api.murmuration.svc/metrics/targets"
    for name in ("api", "worker"):
        rule, namespace = jobs[name]["relabel_configs"]
        assert namespace == {"target_label": "namespace", "replacement": "murmuration"}
        assert rule["action"] == "keep"
        assert rule["source_labels"][0] == "__meta_kubernetes_pod_label_app_kubernetes_io_component"
        kept = [
            component
            for component in ("api", "worker", "redis", "")
            if re.fullmatch(rule["regex"], ";".join((component, "")[: len(rule["source_labels"])]))
        ]
        assert kept == [name]
    assert re.fullmatch(jobs["worker"]["relabel_configs"][0]["regex"], f";{outside['url']}")


GIVEN = {"own", "password", "ledger", "bucket", "hub", "keys", "backups", "murmuration-api", "murmuration-redis"}
"""Secrets that the profiles name and whoever installs them makes."""


def sources(pod: Document) -> set[tuple[str, str]]:
    """What a pod names, by kind and name."""
    told = {("ServiceAccount", pod["serviceAccountName"])} if "serviceAccountName" in pod else set()
    if "priorityClassName" in pod:
        told.add(("PriorityClass", pod["priorityClassName"]))
    for one in (*pod["containers"], *pod.get("initContainers", ())):
        for source in one.get("envFrom", ()):
            told |= {
                ("ConfigMap" if kind == "configMapRef" else "Secret", named["name"]) for kind, named in source.items()
            }
    for volume in pod.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            told.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    return told


@pytest.mark.parametrize("profile", NAMES)
def test_what_a_pod_names_is_there(profile: str) -> None:
    found = profiles()[profile]
    there = set(found) | {("Secret", name) for name in GIVEN}
    named = [sources(pod) for pod in pods(found).values()]
    assert len(named) >= 4
    assert set().union(*named) <= there
    ledger = {
        claim["metadata"]["name"]
        for one in found.values()
        for claim in one.get("spec", {}).get("volumeClaimTemplates", ())
    }
    for pod in pods(found).values():  # fine: four at least
        mounts = {mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", ())}
        assert mounts <= {volume["name"] for volume in pod.get("volumes", ())} | ledger


@pytest.mark.parametrize("profile", NAMES)
def test_what_a_scaler_a_budget_or_a_service_is_for_is_there(profile: str) -> None:
    found = profiles()[profile]
    targets = [
        document["spec"]["scaleTargetRef"]["name"]
        for (kind, _), document in found.items()
        if kind in {"HorizontalPodAutoscaler", "ScaledObject"}
    ]
    assert targets
    assert {("Deployment", name) for name in targets} <= set(found)
    selectors = [
        document["spec"]["selector"].get("matchLabels", document["spec"]["selector"])
        for (kind, _), document in found.items()
        if kind in {"PodDisruptionBudget", "Service"}
    ]
    assert len(selectors) >= 4
    assert {one["app.kubernetes.io/component"] for one in selectors} <= {*pods(found), "nobody"}


# ---------------------------------------------------------------- values


def test_every_value_is_in_the_schema_and_nothing_else_is_taken() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    seen = 0

    def walk(known: Document, value: Any) -> None:
        nonlocal seen
        seen += 1
        if known.get("additionalProperties") is False:
            other = {"global", "minAvailable"}  # of a budget there is one or the other
            assert set(value) - other == set(known["properties"]) - other
            for name, inner in value.items():
                walk(known["properties"][name], inner)

    walk(schema, values)
    assert seen > 100


def test_the_readme_explains_every_part_of_the_values() -> None:
    text = (CHART / "README.md").read_text("utf-8")
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert [name for name in values if f"`{name}" not in text] == []


PUBLISHED: Document = {"host": "speech.example.org", "ingress": {"enabled": True}}
ROUTED: Document = {"host": "speech.example.org", "gateway": {"enabled": True, "parentRefs": [{"name": "public"}]}}
REFUSED: list[tuple[Document, str]] = [
    ({"edge": PUBLISHED, "settings": {"MURMUR_PROFILE": "open"}}, "MURMUR_PROFILE can't be among the settings"),
    ({"edge": PUBLISHED, "api": {"settings": {"MURMUR_SECURITY__REQUIRE_KEYS": False}}}, "REQUIRE_KEYS is off"),
    ({"edge": {"ingress": {"enabled": True}}}, "needs edge.host"),
    ({"edge": PUBLISHED | {"tlsSecret": ""}}, "needs edge.tlsSecret"),
    ({"edge": PUBLISHED, "network": {"edgeNamespaces": []}}, "needs network.edgeNamespaces"),
    ({"edge": ROUTED}, "where the Gateway's pods run"),
    ({"edge": {"host": "https://a"}}, "host"),
    ({"edge": {"host": "*.example.org"}}, "host"),
    (
        {"edge": ROUTED | {"gateway": {"enabled": True, "parentRefs": [{}]}}, "network": {"edgeNamespaces": ["gw"]}},
        "name",
    ),
    ({"monitoring": {"edge": {"durations": "x"}}}, "not used without monitoring.edge.requests"),
    ({"api": {"resources": None}}, "resources"),
    ({"redis": {"storage": None}}, "storage"),
    (
        {"monitoring": {"podMonitors": {"enabled": True}}, "network": {"monitoringNamespaces": []}},
        "needs network.monitoringNamespaces",
    ),
    ({"externalRedis": {"existingSecret": "x"}}, "not used while redis.enabled"),
    ({"blobs": {"endpoint": "https://minio"}}, "blobs.endpoint is not used"),
    ({"blobs": {"existingSecret": "x"}}, "blobs.existingSecret is not used"),
    ({"blobs": {"url": "s3://b"}, "data": {"existingClaim": "x"}}, "set one of them"),
    ({"models": {"mode": "init", "existingClaim": "x"}}, "models.existingClaim is not used"),
    ({"backup": {"enabled": True, "existingSecret": "x"}}, "backup.existingSecret is not used"),
    ({"backup": {"url": "s3://b/c"}}, "no backup would be taken"),
    ({"backup": {"schedule": "every day at three oclock"}}, "schedule"),
    ({"backup": None}, "backup"),
    ({"api": {"autoscaling": {"minReplicas": 20}}}, "api.autoscaling.minReplicas is 20 and maxReplicas 10"),
    ({"worker": {"autoscaling": {"minReplicas": 60}}}, "worker.autoscaling.minReplicas is 60"),
    ({"worker": {"autoscaling": {"fallbackReplicas": 60}}}, "fallbackReplicas is 60"),
    ({"worker": {"autoscaling": {"mode": "keda", "prometheusAddress": "prometheus:9090"}}}, "prometheusAddress"),
    ({"api": {"resources": {"requests": {"cpu": None}}}}, "needs api.resources.requests.cpu"),
    ({"api": {"disruptionBudget": {"maxUnavailble": 1}}}, "maxUnavailble"),
    ({"redis": {"maxMemory": "4gb"}}, "redis.maxMemory is 4gb and redis.resources.limits.memory 3Gi"),
    ({"cache": {"maxMemory": "512mb"}}, "cache.maxMemory is 512mb"),
    ({"redis": {"image": {"tag": "8 alpine"}}}, "tag"),
    ({"priorityClasses": {"create": True, "serving": 10}}, "priorityClasses.serving must be above"),
    ({"network": {"private": ["fd00::/8"]}}, "private"),
    ({"network": {"pods": ["10.0.0.0/40"]}}, "pods"),
    ({"worker": {"settings": {"MURMUR_WORKER__DRAIN_S": 900}}}, "set worker.drainSeconds"),
    ({"worker": {"settings": {"HF_TOKEN": "hf_x"}}}, "HF_TOKEN is a secret"),
    ({"settings": {"MURMUR_BLOBS__URL": "s3://b"}}, "set blobs.url"),
    ({"wroker": {}}, "wroker"),
    ({"worker": {"drainSeconds": "long"}}, "drainSeconds"),
    ({"worker": {"autoscaling": {"mode": "always"}}}, "mode"),
    ({"api": {"image": {"digest": "latest"}}}, "digest"),
    ({"blobs": {"url": "/data"}}, "url"),
    ({"network": {"pods": ["everything"]}}, "pods"),
    ({"profile": "open", "edge": {"ingress": {"enabled": True}}}, "profile is not strict"),
    ({"edge": {"gateway": {"enabled": True}}}, "parentRefs"),
    ({"redis": {"enabled": False}}, "externalRedis.existingSecret"),
    ({"redis": {"enabled": False}, "externalRedis": {"existingSecret": "x"}}, "externalRedis.cidrs"),
    ({"settings": {"MURMUR_WEBHOOK__SECRETS": "whsec_x"}}, "is a secret"),
    ({"worker": {"settings": {"MURMUR_LEDGER__URL": "redis://:x@y"}}}, "is a secret"),
]


def test_values_that_cannot_be_meant_are_refused_with_a_sentence() -> None:
    told = answers(*({"values": values} for values, _ in REFUSED))
    assert len(told) == len(REFUSED)
    for one, (values, word) in zip(told, REFUSED, strict=True):
        assert word in one.get("error", ""), values
    assert "helm" not in refused({"profile": "loose"}).lower()


def test_all_that_is_wrong_is_said_at_once() -> None:
    told = refused({"edge": {"ingress": {"enabled": True}}, "redis": {"maxMemory": "4gb"}, "backup": {"url": "s3://b"}})
    assert [word in told for word in ("edge.host", "redis.maxMemory", "no backup would be taken")] == [True] * 3


TAKEN: list[Document] = [
    {"edge": PUBLISHED},
    {"edge": ROUTED, "network": {"edgeNamespaces": ["envoy-gateway-system"]}},
    {"profile": "open", "edge": PUBLISHED | {"allowOpen": True}},
    {"api": {"disruptionBudget": {"minAvailable": "50%"}}, "worker": {"disruptionBudget": {"maxUnavailable": 0}}},
    {"redis": {"maxMemory": "2gb", "resources": {"limits": {"memory": "4.5Gi"}}}},
    {"redis": {"resources": {"limits": {"memory": 4294967296}}}},
    {"network": {"pods": ["fd00:10:244::/56", "10.244.0.0/16"], "publicIPv6": ""}},
    {"backup": {"enabled": True, "schedule": "@daily"}, "models": {"mode": "init"}},
    {"backup": {"enabled": True, "schedule": "30 2 * * mon-fri"}, "priorityClasses": {"create": True}},
    {"blobs": {"url": "s3://b/c", "region": "eu"}, "encryption": {"existingSecret": "keys"}},
    {"worker": {"autoscaling": {"mode": "hpa"}}, "api": {"autoscaling": {"enabled": False}}},
    {"redis": {"enabled": False}, "externalRedis": {"existingSecret": "x"}, "network": {"policies": False}},
]


def test_values_that_belong_together_give_documents_that_pass_the_schemas() -> None:
    told = answers(*({"values": values} for values in TAKEN))
    assert len(told) == len(TAKEN)
    for one, values in zip(told, TAKEN, strict=True):
        found = documents(one)
        assert {key: wrong for key, document in found.items() if (wrong := faults(document))} == {}, values


def test_a_budget_is_one_of_the_two_that_there_are() -> None:
    (answer,) = answers({"values": TAKEN[3]})
    found = documents(answer)
    budgets = {name: found["PodDisruptionBudget", f"murmuration-{name}"]["spec"] for name in ("api", "worker")}
    assert (budgets["api"]["minAvailable"], budgets["worker"]["maxUnavailable"]) == ("50%", 0)
    assert "maxUnavailable" not in budgets["api"]


def test_an_annotation_of_one_s_own_takes_the_chart_s_place() -> None:
    name = "nginx.ingress.kubernetes.io/limit-rps"
    own = {"host": "a.example.org", "ingress": {"enabled": True, "annotations": {name: "5", "own": "x"}}}
    (answer,) = answers({"values": {"edge": own}})
    text = answer["texts"]["edge.yaml"]
    assert text.count(name) == 1
    annotations = documents(answer)["Ingress", "murmuration-api"]["metadata"]["annotations"]
    assert (annotations[name], annotations["own"]) == ("5", "x")
    assert len(annotations) > 8


@pytest.mark.parametrize(
    "changed",
    [
        {"worker": {"tolerations": [{"key": "x", "operator": "Exists"}]}},
        {"priorityClasses": {"create": True}},
        {"image": {"pullSecrets": ["pull"]}},
        {"models": {"existingClaim": "own"}},
        {"settings": {"MURMUR_MODEL": "small"}},
    ],
)
def test_any_other_job_that_fetches_models_has_another_name(changed: Document) -> None:
    """A Job can't be changed: `helm upgrade` would fail."""
    before, after = (documents(answer) for answer in answers({"values": {}}, {"values": changed}))
    names = [next(name for kind, name in found if kind == "Job") for found in (before, after)]
    assert len(set(names)) == 2


def test_images_are_named_by_tag_or_digest_and_by_a_registry_of_ones_own() -> None:
    images = {name: pod["containers"][0]["image"] for name, pod in pods(profiles()["operated"]).items()}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"]
    assert images["api"] == f"registry.example.com/team/murmuration-api@{OPERATED['api']['image']['digest']}"
    assert images["worker"] == images["models"] == f"registry.example.com/team/murmuration-worker:{version}"
    assert images["redis"] == images["redis-cache"] == "redis:8-alpine"
    assert images["backup"] == images["api"]
    assert pods(profiles()["operated"])["api"]["imagePullSecrets"] == [{"name": "pull"}]
    assert pods(profiles()["gpu"])["worker"]["containers"][0]["image"].endswith("murmuration-worker:cuda")


def test_the_chart_s_version_is_the_project_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == version


def test_the_notes_say_how_to_go_on() -> None:
    (answer,) = answers({"values": {}, "namespace": "speech"})
    notes = answer["texts"]["NOTES.txt"]
    assert "murmur keys create" in notes
    assert "kubectl -n speech port-forward svc/murmuration-api" in notes
