"""The examples of the README and of docs/api.md, run as they stand there."""

import base64
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from demo import SAMPLES
from tests.live_api import live_api
from tests.platform import TestPlatform
from tests.receiver import receiving, status
from transcription.settings.outbound import Outbound
from transcription.webhook import signatures

ROOT = Path(__file__).parents[2]


def run(script: str, *, where: Path) -> str:
    """What *script* prints; every command of it must succeed."""
    script = script.replace("curl -s", "curl --fail-with-body -s")
    argv = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(argv, cwd=where, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks(page: str, kind: str) -> list[str]:
    """The *page*'s blocks of code of a *kind*, `sh` or `python`."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl isn't installed")
def test_the_curl_commands_submit_poll_and_retrieve(platform: TestPlatform, tmp_path: Path) -> None:
    (script,) = blocks("README.md", "sh")
    script = script.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", str(ROOT / "demo/samples"))
    out = run(script, where=tmp_path)
    assert '"status":"completed"' in out
    for segment in SAMPLES["short"].segments:
        assert f"\n{segment.text}\n" in out
    assert '"status":"ok"' in out


def test_the_python_example_prints_the_transcript(platform: TestPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("README.md", "python")
    example = example.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", str(ROOT / "demo/samples"))
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == SAMPLES["short"].transcript.split()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl isn't installed")
def test_the_quick_start_transcribes_in_the_terminal_and_in_a_program(
    platform: TestPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MURMUR_URL", platform.url)
    samples, words = str(ROOT / "demo/samples"), SAMPLES["short"].transcript.split()
    (script,), (example,) = blocks("docs/quickstart.md", "sh"), blocks("docs/quickstart.md", "python")
    script = script.replace(".venv/bin/murmur", str(Path(sys.executable).with_name("murmur")))
    out = run(script.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", samples), where=tmp_path)
    assert out.count(words[-1]) >= 2
    code = example.replace("http://127.0.0.1:8000", platform.url).replace("demo/samples", samples)
    exec(compile(code, "quickstart.md", "exec"), {})
    assert capsys.readouterr().out.split() == words


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The recording that the page names, in the directory where its examples run."""
    recording = SAMPLES["mp3"].path.read_bytes()
    (tmp_path / "talk.mp3").write_bytes(recording)
    monkeypatch.chdir(tmp_path)
    return recording


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq isn't installed")
def test_the_api_page_s_commands_do_what_it_says(
    platform: TestPlatform, talk: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intranet = platform.settings.model_copy(update={"outbound": Outbound(allow_private_addresses=True)})
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with live_api(intranet) as api, receiving() as elsewhere:
        url = str(api.base_url).rstrip("/")
        monkeypatch.setenv("MURMUR_URL", url)
        elsewhere.answers.append(status(200, talk, content_type="audio/mpeg"))
        script = "\n".join(blocks("docs/api.md", "sh")).replace("http://127.0.0.1:8000", url)
        script = script.replace("https://example.org", f"http://127.0.0.1:{elsewhere.port}")
        out = run(script, where=tmp_path)
        assert [got.path for got in elsewhere.received][:1] == ["/talk.mp3"]
    for segment in SAMPLES["mp3"].segments:
        assert out.count(segment.text) >= 4  # as SRT, as text, in events, followed
    assert "Murmur-Complete: true".lower() in out.lower()
    assert "event: done" in out
    assert out.count("completed") >= 4
    replayed = re.findall(r"^msg_\w+$", out, re.MULTILINE)
    assert len(replayed) == 1
    assert f"{replayed[0]}  job.completed" in out
    ids = re.findall(r"^[0-9a-f]{32}$", out, re.MULTILINE)
    assert len(ids) == 2
    assert ids[0] == ids[1], "one job for one idempotency key"


def test_the_api_page_s_python_follows_a_job_and_checks_signatures(
    platform: TestPlatform, talk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for example in blocks("docs/api.md", "python"):
        exec(compile(example.replace("http://127.0.0.1:8000", platform.url), "api.md", "exec"), names)
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert "".join(said).split() == SAMPLES["mp3"].transcript.split()
    old, new = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    now, body = int(time.time()), b'{"type":"job.completed"}'
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(now),
        "webhook-signature": signatures([old, new], "m", now, body),
    }
    assert all(names["is_genuine"](headers, body, secret) for secret in (old, new))
    assert not names["is_genuine"](headers, body + b" ", new)
    assert not names["is_genuine"](headers, body, "whsec_" + "QUFB" * 8)
    assert not names["is_genuine"]({**headers, "webhook-timestamp": str(now - 900)}, body, new)
