"""What `make release` makes of this checkout."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import murmur

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "release.py"
TOOLS = ROOT / ".venv" / "release" / "bin" / "python"
VERSION = murmur.__version__

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's files; the build takes seconds, so it is made once."""
    if not TOOLS.exists():
        if os.environ.get("CI"):
            pytest.fail("the tools aren't installed: make .venv/.release")
        pytest.skip("the release's tools aren't installed; `make .venv/.release` does it")
    out = tmp_path_factory.mktemp("dist")
    done = release(out)
    assert done.returncode == 0, done.stderr
    return out


def release(out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--python", str(TOOLS), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_release_has_wheel_sdist_sboms_tags_notes_and_sums(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        f"murmuration_asr-{VERSION}-py3-none-any.whl", f"murmuration_asr-{VERSION}.tar.gz", "images.txt", "NOTES.md",
        "sbom-api.cdx.json", "sbom-worker.cdx.json", "sbom-local.cdx.json", "sbom-flower.cdx.json", "SHA256SUMS",
    }  # fmt: skip
    sums = dict(reversed(line.split("  ")) for line in (made / "SHA256SUMS").read_text().splitlines())
    assert len(sums) == 8
    for name, digest in sums.items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest
    assert (made / "NOTES.md").read_text().startswith(f"# Murmuration {VERSION}\n")
    assert f"murmuration-worker:{VERSION}\n" in (made / "images.txt").read_text()


def test_the_wheel_that_comes_out_of_the_sdist_is_whole(made: Path) -> None:
    names = set(zipfile.ZipFile(made / f"murmuration_asr-{VERSION}-py3-none-any.whl").namelist())
    assert {
        "murmur/_platform/api/static/web/index.html",
        "murmur/_platform/demo/weights.npz",
        "murmur/py.typed",
    } <= names
    with tarfile.open(made / f"murmuration_asr-{VERSION}.tar.gz") as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "web/index.html", "clients/js/murmur.js"} <= kept
    assert not [name for name in kept if "node_modules" in name or name.startswith(".venv")]


@pytest.mark.parametrize("lock", ["api", "worker", "local", "flower"])
def test_an_sbom_names_every_package_of_its_lock_by_version_and_hash(made: Path, lock: str) -> None:
    bom = json.loads((made / f"sbom-{lock}.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == "murmuration-asr"
    locked = dict(
        re.findall(
            r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE
        )
    )
    found = {part["name"]: part for part in bom["components"]}
    assert {name: part["version"] for name, part in found.items()} == locked
    assert locked
    assert "hashes" in json.dumps(found["celery"])


def test_what_is_in_the_way_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = release(tmp_path)
    assert done.returncode == 1
    assert "isn't empty" in done.stderr


def test_notes_are_the_version_s_part_of_the_changelog(script: ModuleType) -> None:
    text = "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [1.1.0] - 2026-01-01\n\n- second\n\n## [1.0.0]\n\n- first\n"
    assert script.notes(text, "1.1.0") == "# Murmuration 1.1.0\n\n- second\n"
    assert script.notes(text, "2.0.0") == "# Murmuration 2.0.0\n\n- new\n"
    with pytest.raises(SystemExit):
        script.notes("# Changelog\n", "1.0.0")
    assert "murmuration-api:1.2" in script.tags("1.2.3")
