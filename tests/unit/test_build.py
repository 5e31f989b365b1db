"""Which version and commit the code says it is."""

import json
import subprocess
from pathlib import Path

import pytest

from api.metrics.process import ApiMetrics
from murmur.version import __version__
from transcription.observability.build import UNKNOWN, Build, read
from worker.metrics.endpoint import State, registry


def test_an_image_says_what_it_was_built_from(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9"\n')
    (tmp_path / "build.json").write_text(json.dumps({"version": "1.2.3", "commit": "abc"}))
    assert read(tmp_path) == Build("1.2.3", "abc")


def test_an_image_that_was_built_without_a_commit_says_that_it_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(json.dumps({"version": "1.2.3", "commit": ""}))
    assert read(tmp_path) == Build("1.2.3", UNKNOWN)


def test_a_checkout_says_its_commit(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    assert read(tmp_path) == Build("1.2.3", UNKNOWN)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert read(tmp_path) == Build("1.2.3", commit)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_file_that_can_not_be_read_is_no_reason_to_fail(tmp_path: Path, text: str) -> None:
    (tmp_path / "build.json").write_text(text)
    assert read(tmp_path).commit == UNKNOWN


def test_api_and_worker_say_version_and_commit_among_their_metrics() -> None:
    for found in (ApiMetrics().whole(), registry("w1@here", lambda: State(0, 1, 1))):
        (sample,) = [one for family in found.collect() for one in family.samples if one.name == "murmur_build_info"]
        assert sample.labels["version"] == __version__
        assert sample.labels["commit"]
