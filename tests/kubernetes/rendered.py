"""The rendered chart as tests ask it: a container, its settings, a document by its kind and name."""

import pytest

from tests.kubernetes.charts import Document, container, pods, profiles
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
