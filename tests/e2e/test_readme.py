"""The README's commands, run as they stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demo import SAMPLES
from tests.platform import TestPlatform

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl isn't installed")
def test_the_curl_commands_submit_poll_and_retrieve(platform: TestPlatform, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    script = script.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", str(ROOT / "demo/samples"))
    script = script.replace("curl -s", "curl -s --fail-with-body")
    argv = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"status":"completed"' in done.stdout
    for segment in SAMPLES["short"].segments:
        assert f"\n{segment.text}\n" in done.stdout
    assert '"status":"ok"' in done.stdout


def test_the_python_example_prints_the_transcript(platform: TestPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    example = example.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", str(ROOT / "demo/samples"))
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == SAMPLES["short"].transcript.split()
