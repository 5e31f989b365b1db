"""
`deploy/kubernetes/` as files: every document passes Kubernetes' published schemas, and what names another finds it.

The schemas are those that `kubernetes-validate` brings along, the strict ones: an unknown field is an error. KEDA's
kind isn't among them; the fields that we use stand here, and what it hands on to Kubernetes is checked as Kubernetes'
own.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

from transcription.settings import Settings

ROOT = Path(__file__).parents[2]
HOME = ROOT / "deploy" / "kubernetes"
BASE = HOME / "base"
VERSIONS = ("1.31", "1.37")
CONTROLLERS = ("Deployment", "StatefulSet")

Document = dict[str, Any]


def load(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def base() -> list[Document]:
    (kustomization,) = load(BASE / "kustomization.yaml")
    return [document for name in kustomization["resources"] for document in load(BASE / name)]


def overlay(name: str, documents: list[Document]) -> list[Document]:
    """*documents* with the overlay's patches, which are lists of JSON Patch's `add` and `replace`."""
    (kustomization,) = load(HOME / name / "kustomization.yaml")
    for patch in kustomization["patches"]:
        (target,) = [d for d in documents if named(d) == (patch["target"]["kind"], patch["target"]["name"])]
        for step in yaml.safe_load(patch["patch"]):
            *way, last = step["path"].strip("/").split("/")
            place: Any = target
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            assert step["op"] in {"add", "replace"}
            assert (last in place) == (step["op"] == "replace")
            if last == "-":
                place.append(step["value"])
            else:
                place[last] = step["value"]
    return documents


def named(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


BUILDS = {
    "base": base(),
    "gpu": overlay("gpu", base()),
    "gpu-torch": overlay("gpu-torch", overlay("gpu", base())),
}
DOCUMENTS = [pytest.param(d, id=f"{build}-{'-'.join(named(d))}") for build, ds in BUILDS.items() for d in ds]


def pods() -> Iterator[tuple[Document, Document]]:
    for document in BUILDS["gpu"]:
        if document["kind"] in CONTROLLERS:
            yield document, document["spec"]["template"]["spec"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_manifest_passes_the_published_schemas(document: Document) -> None:
    if document["apiVersion"].startswith("keda.sh/"):
        with pytest.raises(SchemaNotFoundError):
            validate(document, VERSIONS[-1], strict=True)
        return
    for version in VERSIONS:
        assert validate(document, version, strict=True) == version


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("spec", "replica"), 2),
        (("spec", "replicas"), "two"),
        (("spec", "template", "spec", "containers", 0, "prots"), []),
    ],
)
def test_a_mistake_in_a_manifest_is_found(way: tuple[Any, ...], value: Any) -> None:
    spoilt = copy.deepcopy(next(d for d in base() if named(d) == ("Deployment", "api")))
    *before, last = way
    place: Any = spoilt
    for part in before:
        place = place[part]
    place[last] = value
    with pytest.raises(ValidationError):
        validate(spoilt, VERSIONS[-1], strict=True)


def test_every_file_beside_the_kustomization_is_in_it() -> None:
    (kustomization,) = load(BASE / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == sorted(
        p.name for p in BASE.iterdir() if p.name != "kustomization.yaml"
    )


def test_the_scaler_says_what_keda_takes_and_asks_for_metrics_that_there_are() -> None:
    (scaler,) = load(BASE / "scaler.yaml")
    assert (scaler["apiVersion"], scaler["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = scaler["spec"]
    known = {"scaleTargetRef", "pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount"}
    assert set(spec) <= known | {"advanced", "fallback", "triggers"}
    assert ("Deployment", spec["scaleTargetRef"]["name"]) in map(named, base())
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    assert set(spec["fallback"]) == {"failureThreshold", "replicas"}
    # KEDA makes an autoscaler of Kubernetes' own out of it.
    autoscaler = copy.deepcopy(next(d for d in base() if d["kind"] == "HorizontalPodAutoscaler"))
    assert set(spec["advanced"]) == {"horizontalPodAutoscalerConfig"}
    autoscaler["spec"] |= spec["advanced"]["horizontalPodAutoscalerConfig"]
    validate(autoscaler, VERSIONS[-1], strict=True)
    (trigger,) = spec["triggers"]
    assert set(trigger) == {"type", "metricType", "metadata"}
    assert trigger["metricType"] in {"AverageValue", "Value"}
    assert set(trigger["metadata"]) == {"serverAddress", "threshold", "query"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    metrics = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    asked = set(re.findall(r"murmur_\w+", trigger["metadata"]["query"]))
    assert len(asked) >= 2
    assert all(f"`{name}`" in metrics for name in asked)


def test_prometheus_is_told_to_scrape_what_the_dashboards_know_and_finds_it() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((HOME / "scrape.yml").read_text("utf-8"))}
    compose = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    known = {job["job_name"]: job for job in compose["scrape_configs"]}
    assert set(jobs) == {"api", "ledger", "worker"} <= set(known)
    assert jobs["ledger"]["metrics_path"] == known["ledger"]["metrics_path"]
    assert jobs["ledger"]["static_configs"] == [{"targets": ["api.murmuration.svc:80"]}]
    assert ("Service", "api") in map(named, base())
    for name in ("api", "worker"):
        (rule,) = jobs[name]["relabel_configs"]
        assert (rule["action"], rule["regex"]) == ("keep", name)
        # Every port of a pod is a target, so it must have no other.
        (deployment,) = [d for d in base() if named(d) == ("Deployment", name)]
        assert deployment["spec"]["template"]["metadata"]["labels"]["app"] == name
        assert [len(c["ports"]) for c in deployment["spec"]["template"]["spec"]["containers"]] == [1]


def test_what_names_another_document_finds_it() -> None:
    there = {named(document) for document in base()} | {("ConfigMap", "settings")}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in base() if d["kind"] in CONTROLLERS]
    assert len(labels) == len(list(pods())) == 4
    for document in base():  # fine: of which the workloads are four
        spec = document.get("spec", {})
        if document["kind"] == "PodDisruptionBudget":
            assert spec["selector"]["matchLabels"] in labels
        if document["kind"] == "Service" and named(document)[1] != "closed":
            assert spec["selector"] in labels
        if document["kind"] == "HorizontalPodAutoscaler":
            assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in there
        if document["kind"] == "Ingress":
            ways = [path["backend"]["service"]["name"] for rule in spec["rules"] for path in rule["http"]["paths"]]
            assert {("Service", name) for name in ways} <= there
    for controller, pod in pods():
        claims = [
            v["persistentVolumeClaim"]["claimName"] for v in pod.get("volumes", ()) if "persistentVolumeClaim" in v
        ]
        assert {("PersistentVolumeClaim", name) for name in claims} <= there
        own = {claim["metadata"]["name"] for claim in controller["spec"].get("volumeClaimTemplates", ())}
        assert pod["containers"]
        for container in pod["containers"]:
            mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounts <= {volume["name"] for volume in pod.get("volumes", ())} | own


def test_settings_of_the_manifests_are_settings_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    (kustomization,) = load(BASE / "kustomization.yaml")
    (generated,) = kustomization["configMapGenerator"]
    for literal in generated["literals"]:
        name, _, value = literal.partition("=")
        monkeypatch.setenv(name, value)
    for _, pod in pods():
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                if "value" in variable:
                    monkeypatch.setenv(variable["name"], variable["value"])
    settings = Settings()
    assert settings.device == "cuda"
    ports = {
        port["containerPort"] for _, pod in pods() for container in pod["containers"] for port in container["ports"]
    }
    assert {settings.api.port, settings.worker.metrics_port} <= ports
    assert "api" in [named(controller)[1] for controller, _ in pods()]
    for controller, pod in pods():
        if named(controller)[1] == "api":
            pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
            assert pod["terminationGracePeriodSeconds"] > pause + settings.api.stop_s
