"""The command line against a real platform."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from demo import SAMPLES
from murmur.cli.main import main
from tests.free_port import free_port
from tests.platform import TestPlatform, eventually, running_platform
from transcription.job import Status


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


Murmur = Callable[..., Done]


@pytest.fixture
def murmur(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Murmur:
    """Run the command line in this process: its imports take longer than most commands."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["murmur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_a_recording_becomes_text_on_standard_output(murmur: Murmur, platform: TestPlatform) -> None:
    done = murmur("transcribe", SAMPLES["mp3"].path, "--url", platform.url)
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == SAMPLES["mp3"].transcript.split()


def test_following_a_job_that_was_given_up_says_so(murmur: Murmur, platform: TestPlatform) -> None:
    with platform.client() as client:
        recording = io.BytesIO(SAMPLES["long"].path.read_bytes() + bytes(48))
        job = client.submit(recording)
        client.cancel(job.id)
    done = murmur("follow", job.id, "--url", platform.url)
    assert (done.status, f"job {job.id}: job '{job.id}' was canceled (job_canceled)" in done.err) == (1, True)
    assert murmur("follow", "never-there", "--url", platform.url).status == 1


def test_several_files_become_files_and_one_that_fails_is_named(
    murmur: Murmur, platform: TestPlatform, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    paths = [SAMPLES["short"].path, empty, SAMPLES["video"].path, tmp_path / "missing.mp3"]
    done = murmur("transcribe", *paths, "--format", "srt", "--output-dir", tmp_path / "out", "--url", platform.url)
    assert done.status == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["short.srt", "video.srt"]
    assert (tmp_path / "out" / "short.srt").read_text().startswith("1\n00:00:00,")
    first, second = done.err.splitlines()
    assert str(empty) in first
    assert "missing.mp3" in second
    assert "Traceback" not in done.err


def test_word_times_are_in_the_verbose_json(murmur: Murmur, platform: TestPlatform) -> None:
    done = murmur("transcribe", SAMPLES["short"].path, "--format", "verbose_json", "--words", "--url", platform.url)
    words = json.loads(done.out)["words"]
    assert [word["word"].strip() for word in words] == SAMPLES["short"].transcript.split()


def test_jobs_are_listed_shown_and_canceled(murmur: Murmur, platform: TestPlatform) -> None:
    with platform.client() as client:
        job = client.wait(client.submit(SAMPLES["german"].path, language="de").id, seconds=60)
    listed = murmur("jobs", "--limit", 5, "--url", platform.url)
    assert job.id in listed.out
    assert "german.flac" in listed.out
    shown = murmur("status", job.id, "--url", platform.url)
    assert shown.status == 0
    assert "completed" in shown.out
    late = murmur("cancel", job.id, "--url", platform.url)
    assert late.status == 1
    assert late.err.startswith("murmur: ")
    assert len(late.err.splitlines()) == 1


def test_a_platform_that_works_passes_the_check(murmur: Murmur, tmp_path: Path) -> None:
    with running_platform(tmp_path, as_users=True) as platform:  # it looks for the worker's command line
        done = murmur("check", "--url", platform.url)
    assert done.status == 0, done.out
    parts = [line.split()[:2] for line in done.out.splitlines()]
    assert parts[:4] == [["ok", "API"], ["ok", "ledger"], ["ok", "workers"], ["ok", "model"]]
    assert "allocator" in done.out
    if sys.platform == "linux":
        assert "not known" not in done.out


@pytest.mark.parametrize("command", [["transcribe", str(SAMPLES["short"].path)], ["jobs"], ["status", "x"], ["check"]])
def test_a_platform_that_is_not_there_is_one_sentence(murmur: Murmur, command: list[str]) -> None:
    done = murmur(*command, "--url", f"http://127.0.0.1:{free_port()}")
    assert done.status == 1
    said = (done.out + done.err).splitlines()
    assert len(said) == 1
    assert "no answer from http://127.0.0.1" in said[0]


def test_wrong_usage_has_status_2(murmur: Murmur) -> None:
    assert murmur("transcribe").status == 2
    assert murmur("models", "download", "enormous").status == 2
    several = murmur("transcribe", "a.mp3", "b.mp3", "--format", "srt")
    assert several.status == 2
    assert "--output-dir" in several.err


def test_models_are_listed(murmur: Murmur, platform: TestPlatform, tmp_path: Path) -> None:
    done = murmur("models", "list", "--data-dir", tmp_path, "--url", platform.url)
    assert f"served at {platform.url}: demo" in done.out
    assert "large-v3" in done.out


def test_an_interrupted_transcription_gives_its_jobs_up(platform: TestPlatform, tmp_path: Path) -> None:
    recording = tmp_path / "given-up.flac"
    recording.write_bytes(SAMPLES["long"].path.read_bytes() + b"\0" * 64)  # never heard before: no cache answers
    argv = [sys.executable, "-m", "murmur", "transcribe", str(recording), "--url", platform.url]
    worker = psutil.Process(platform.pids()["w1"])
    worker.suspend()
    try:
        with platform.client() as client, subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            (job,) = eventually(lambda: [job for job in client.jobs().jobs if job.audio.filename == recording.name], 60)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 130
            assert "Traceback" not in said
            assert client.job(job.id).status == Status.CANCELED
    finally:
        worker.resume()
