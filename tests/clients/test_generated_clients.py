"""Clients that generators make of the live platform's OpenAPI document, and what they then do with it."""

import json
import shutil
from pathlib import Path
from typing import Any

from demo import SAMPLES
from tests.clients.tools import HERE, output
from tests.platform import TestPlatform

SHORT = SAMPLES["short"]


def _as_expected(said: dict[str, Any]) -> None:
    assert said["status"] == "completed"
    assert (said["raw"], said["beams"]) == ("raw.flac", 3)
    assert said["jobs"]
    assert said["models"] == 1
    assert said["languages"] > 90
    assert said["workers"] >= 1
    assert said["missing"] == "job_not_found"
    assert said["segments"] == [segment.text for segment in SHORT.segments]


def test_openapi_python_client_makes_a_client_that_works(
    client_python: Path, platform: TestPlatform, tmp_path: Path
) -> None:
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    generate = ["-m", "openapi_python_client", "generate", "--url", f"{platform.url}/openapi.json", "--meta", "none"]
    said = output(client_python, *generate, "--output-path", tmp_path / "made", "--config", tmp_path / "config.yml")
    # «Some pieces may be missing»: a model or an operation was dropped.
    assert "warning" not in said.lower()
    shutil.copy(HERE / "generated.py", tmp_path)
    done = json.loads(output(client_python, tmp_path / "generated.py", platform.url, SHORT.path, cwd=tmp_path))
    _as_expected(done)
    assert done["spoken"].split() == SHORT.transcript.split()


def test_openapi_typescript_writes_types_that_hold(node: str, platform: TestPlatform, tmp_path: Path) -> None:
    modules = HERE / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(HERE / "typed.ts", tmp_path)
    generate = [node, modules / "openapi-typescript" / "bin" / "cli.js", f"{platform.url}/openapi.json"]
    output(*generate, "-o", tmp_path / "api.d.ts", cwd=tmp_path)
    strict = ["--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--target", "es2022"]
    modern = ["--module", "nodenext", "--moduleResolution", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    output(node, modules / "typescript" / "bin" / "tsc", *strict, *modern, "typed.ts", cwd=tmp_path)
    _as_expected(json.loads(output(node, tmp_path / "typed.js", platform.url, SHORT.path, cwd=tmp_path)))
