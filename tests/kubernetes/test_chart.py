"""`deploy/helm/murmuration`: documents pass the published schemas, name what is there, and have one source."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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
)  # fmt: skip
from tests.kubernetes.schemas import FOREIGN, faults

NAMES = ("defaults", "base", "gpu", "gpu-torch", "operated", "elsewhere")


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


def test_the_plain_manifests_are_what_the_chart_gives() -> None:
    ran = subprocess.run([sys.executable, RENDER, "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted(path.parent.name for path in MANIFESTS.glob("*/murmuration.yaml")) == ["base", "gpu", "gpu-torch"]
    for path in MANIFESTS.glob("*/kustomization.yaml"):
        told = yaml.safe_load(path.read_text("utf-8"))
        assert told["resources"] == ["murmuration.yaml"]
        # Whoever has another registry changes `newName`; `name` is what it takes the place of.
        images = re.findall(
            r"image: (\S+/murmuration-\S+)$", (path.parent / "murmuration.yaml").read_text("utf-8"), re.MULTILINE
        )
        assert {f"{image['name']}:{image['newTag']}" for image in told["images"]} == set(images)
        assert all("newName" in image for image in told["images"])


def test_the_chart_s_archive_gives_what_the_chart_gives(tmp_path: Path) -> None:
    """Links lead out of the chart: what is published must bring along what they lead to."""
    ran = subprocess.run([sys.executable, RENDER, "--package", tmp_path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (answer,) = answers({"values": OPERATED, "chart": ran.stdout.strip()})
    assert documents(answer) == profiles()["operated"]


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
    # Which images are built for it, since it takes those of its own version.
    for page in (CHART / "README.md", ROOT / "docs" / "deployment.md"):
        tags = re.findall(r"-t \$registry/murmuration-\w+:(\S+)", page.read_text("utf-8"))
        assert tags == [version] * 2


def test_the_notes_say_how_to_go_on() -> None:
    (answer,) = answers({"values": {}, "namespace": "speech"})
    notes = answer["texts"]["NOTES.txt"]
    assert "murmur keys create" in notes
    assert "kubectl -n speech port-forward svc/murmuration-api" in notes
