"""The chart as Helm's own engine renders it, in a process of its own: the engine is Go's, and tests fork."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.run_directory import made_once

ROOT = Path(__file__).parents[2]
HELM = ROOT / "deploy" / "helm"
CHART = HELM / "murmuration"
RENDER = HELM / "render.py"
MANIFESTS = ROOT / "deploy" / "kubernetes"
NAME = "murmuration-{}"

Document = dict[str, Any]
Id = tuple[str, str]

DIGEST = "sha256:" + "0" * 64
OPERATED: Document = {
    "image": {"registry": "registry.example.com/team", "pullSecrets": ["pull"]},
    "api": {"existingSecret": "own", "image": {"digest": DIGEST}, "autoscaling": {"enabled": False}},
    "worker": {"autoscaling": {"mode": "hpa"}},
    "redis": {"existingSecret": "password"},
    "edge": {
        "host": "murmuration.example.com",
        "gateway": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}]},
    },
    "network": {"edgeNamespaces": ["gateways"]},
    "priorityClasses": {"create": True},
    "monitoring": {
        "podMonitors": {"enabled": True},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True},
    },
    "backup": {"enabled": True},
}
"""A cluster with the operators of monitoring, the Gateway API, priorities and backups."""

ELSEWHERE: Document = {
    "redis": {"enabled": False, "existingSecret": "password"},
    "externalRedis": {"existingSecret": "ledger", "cidrs": ["10.9.8.7/32"], "port": 6380},
    "blobs": {
        "url": "s3://bucket/folder", "endpoint": "https://minio.example.org", "region": "eu",
        "existingSecret": "bucket", "cidrs": ["10.1.2.3/32"], "port": 9000,
    },
    "models": {"mode": "init", "hub": "https://hub.example.org", "existingSecret": "hub"},
    "encryption": {"existingSecret": "keys"},
    "backup": {"enabled": True, "url": "s3://bucket/backups", "existingSecret": "backups"},
    "worker": {"serviceAccountAnnotations": {"example.org/role": "worker"}},
}  # fmt: skip
"""Redis, recordings, models and backups of others, and everything encrypted."""

if importlib.util.find_spec("helm_python") is None:
    if os.environ.get("CI"):
        pytest.fail("helm-python-sdk isn't installed")
    pytest.skip("helm-python-sdk has no wheel for this machine", allow_module_level=True)


def answers(*asked: Document) -> list[Document]:
    """What the engine says to each; see render.py."""
    told = "".join(json.dumps(one) + "\n" for one in asked)
    ran = subprocess.run([sys.executable, RENDER, "--serve"], input=told, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@cache
def profiles() -> dict[str, dict[Id, Document]]:
    """Every document of what ships, by kind and name: the defaults, the plain manifests, and two larger clusters."""
    values: dict[str, Document] = {"defaults": {}, "operated": OPERATED, "elsewhere": ELSEWHERE}
    for path in sorted(MANIFESTS.glob("*/values.yaml")):
        values[path.parent.name] = yaml.safe_load(path.read_text("utf-8"))
    # Tests are named by them: each process of a run asks while it collects.
    told = made_once("profiles.json", lambda: json.dumps(answers(*({"values": one} for one in values.values()))))
    return {name: documents(one) for name, one in zip(values, json.loads(told), strict=True)}


def documents(answer: Document) -> dict[Id, Document]:
    """The documents of an answer, by kind and name."""
    assert "texts" in answer, answer
    found: dict[Id, Document] = {}
    for name, text in answer["texts"].items():
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if name.endswith(".yaml") else ():
            if document:
                key = document["kind"], document["metadata"]["name"]
                assert key not in found, f"{key} is there twice"
                found[key] = document
    return found


def refused(values: Document) -> str:
    """Why *values* are refused."""
    (answer,) = answers({"values": values})
    assert "error" in answer, "nobody minds these values"
    return str(answer["error"])


def pods(found: dict[Id, Document]) -> dict[str, Document]:
    """The pods' specifications, by the component that they are."""
    told: dict[str, Document] = {}
    for document in found.values():
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if document["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            assert template
            told[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template["spec"]
    return told


def container(pod: Document) -> Document:
    """A pod's only container."""
    (one,) = pod["containers"]
    found: Document = one
    return found
