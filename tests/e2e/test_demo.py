"""`murmur demo`, twice on the same data directory."""

import subprocess
import sys
from pathlib import Path

from demo import SAMPLES


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


def test_a_wrong_transcript_fails_the_demo(tmp_path: Path) -> None:
    program = (
        "import sys, dataclasses, pathlib, murmur.cli as cli, demo;"
        "short = demo.SAMPLES['short'];"
        "other = pathlib.Path(sys.argv.pop()) / 'short.flac';"
        "other.write_bytes(short.path.read_bytes());"
        "other.with_suffix('.txt').write_text('Something else.');"
        "demo.SAMPLES['short'] = dataclasses.replace(short, path=other);"
        "sys.argv[0] = 'murmur'; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", "--data-dir", str(tmp_path / "data"), str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "isn't what is said in it" in done.stderr


def demo(data_dir: Path) -> str:
    argv = [sys.executable, "-m", "murmur", "demo", "--data-dir", str(data_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())
