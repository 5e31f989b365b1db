"""`murmur demo`, twice on the same data directory."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from demo import SAMPLES
from murmur.cli.local.demo import show
from murmur.errors import CliError
from tests.platform import TestPlatform


def test_a_second_demo_is_answered_from_the_dedup_cache(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert "Every word is right." in first
    assert "real-time factor" in first
    assert "dedup cache" not in first
    for segment in SAMPLES["short"].segments:
        assert segment.text in first
    second = demo(tmp_path)
    assert "Every word is right." in second
    assert "Answered from the dedup cache" in second


def test_a_wrong_transcript_fails_the_demo(platform: TestPlatform, tmp_path: Path) -> None:
    sample = dataclasses.replace(SAMPLES["short"], path=tmp_path / "short.flac")
    sample.path.write_bytes(SAMPLES["short"].path.read_bytes())
    sample.path.with_suffix(".txt").write_text("Something else.")
    with pytest.raises(CliError, match=r"that isn.t what is said in short\.flac: Something else") as trouble:
        show(platform, sample, Console(quiet=True))
    assert trouble.value.status == 1


def demo(data_dir: Path) -> str:
    argv = [sys.executable, "-m", "murmur", "demo", "--data-dir", str(data_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())
