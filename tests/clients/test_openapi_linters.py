"""Spectral's and Redocly's rules on the OpenAPI document: no error, no warning, and they do look."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from tests.clients.tools import HERE, output
from transcription.settings import Settings

SPECTRAL = HERE / "node_modules" / "@stoplight" / "spectral-cli" / "dist" / "index.js"


def written(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(params=[False, True], ids=["open", "with_keys"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    settings = Settings(model="demo", security={"require_keys": request.param})
    return json.loads(json.dumps(create_app(settings).openapi()))


def spectral(node: str, path: Path) -> list[dict[str, Any]]:
    """What Spectral finds, its hints too."""
    lint = [node, SPECTRAL, "lint", path, "--ruleset", HERE / "spectral.yaml", "--format", "json", "--quiet"]
    out = output(*lint, "--fail-severity", "error", "--fail-on-unmatched-globs")
    return [] if not out.strip().startswith("[") else json.loads(out)


def test_spectral_has_nothing_to_say(node: str, tmp_path: Path, document: dict[str, Any]) -> None:
    assert spectral(node, written(tmp_path, document)) == []
    del document["servers"]
    assert [found["code"] for found in spectral(node, written(tmp_path, document))] == ["oas3-api-servers"]


def test_redocly_has_nothing_to_say(node: str, tmp_path: Path, document: dict[str, Any]) -> None:
    assert output(node, HERE / "redocly.mjs", written(tmp_path, document)) == ""
    del document["paths"]["/health"]["get"]["security"]
    assert "security-defined" in output(node, HERE / "redocly.mjs", written(tmp_path, document))
