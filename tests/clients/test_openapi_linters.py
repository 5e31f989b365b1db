"""Spectral's and Redocly's rules on the OpenAPI document: no error, no warning, and they do look."""

import json
from pathlib import Path

import pytest

from api.app import create_app
from tests.clients.tools import HERE, output
from transcription.settings import Settings

SPECTRAL = HERE / "node_modules" / "@stoplight" / "spectral-cli" / "dist" / "index.js"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The document without keys and with them, and a bad one with a fault for each linter."""
    settings = {name: Settings(model="demo", security={"require_keys": name == "keys"}) for name in ("open", "keys")}
    made = {name: json.loads(json.dumps(create_app(one).openapi())) for name, one in settings.items()}
    bad = made["bad"] = json.loads(json.dumps(made["open"]))
    del bad["servers"]
    del bad["paths"]["/health"]["get"]["security"]
    folder = tmp_path_factory.mktemp("documents")
    for name, document in made.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return {name: folder / f"{name}.json" for name in made}


def test_spectral_finds_nothing_but_what_is_bad(node: str, documents: dict[str, Path]) -> None:
    lint = [node, SPECTRAL, "lint", *documents.values(), "--ruleset", HERE / "spectral.yaml", "--format", "json"]
    out = output(*lint, "--quiet", "--fail-severity", "error", "--fail-on-unmatched-globs")
    found = [(Path(one["source"]).stem, one["code"]) for one in json.loads(out)]  # hints, too
    assert found == [("bad", "oas3-api-servers")]


def test_redocly_finds_nothing_but_what_is_bad(node: str, documents: dict[str, Path]) -> None:
    out = output(node, HERE / "redocly.mjs", *documents.values())
    assert {Path(line.split()[0]).stem for line in out.splitlines()} == {"bad"}, out
    assert "security-defined" in out
