"""A worker outside the platform, with no disk in common: `murmur worker` as on a Mac, here on MLX's CPU backend."""

import logging
import os
import plistlib
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import ctranslate2
import httpx
import pytest

from demo import SAMPLES
from murmur.cli.main import main
from murmur.client.errors import JobEnded
from murmur.errors import CliError
from murmur.platform import launchd
from murmur.platform.data_dir import claimed
from murmur.platform.environment import borrow
from murmur.platform.log_file import LogFile
from tests.platform import BLOBS_SECRET, TestPlatform, eventually
from tests.ready_model import with_ready_model
from transcription.settings import Settings


@contextmanager
def native_worker(platform: TestPlatform, directory: Path, *flags: str, **variables: str) -> Iterator[Path]:
    """`murmur worker` with a disk of its own; the file of its log."""
    log = directory / "logs" / "worker.log"
    argv = [sys.executable, "-m", "murmur", "worker", "--ledger", platform.redis_url, "--model", "demo"]
    argv += ["--data-dir", str(directory), "--log-file", str(log), *flags]
    process = subprocess.Popen(argv, env={**os.environ, **variables})
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def fast_matrices() -> dict[str, str]:
    """See tests/fast_matrices.py; for a process of its own."""
    libraries = Path(ctranslate2.__file__).parent.with_name("ctranslate2.libs").glob("libctranslate2*")
    return {"LD_PRELOAD": ":".join(map(str, libraries)), "MKL_NUM_THREADS": "1"}


@pytest.mark.skipif(not find_spec("mlx"), reason="MLX isn't installed")
@pytest.mark.timeout(240)
def test_mlx_worker_without_a_shared_disk_transcribes_the_api_s_jobs(api_alone: TestPlatform, tmp_path: Path) -> None:
    flags = ["--engine", "mlx", "--audio", api_alone.url, "--slots", "2"]
    variables = {"MURMUR_BLOBS__SECRET": BLOBS_SECRET} | fast_matrices()
    with native_worker(api_alone, tmp_path, *flags, **variables) as log, api_alone.client() as client:
        eventually(client.ready, within_s=90)
        (worker,) = client.workers()
        assert (worker["engine"], worker["id"].partition("@")[0]) == ("mlx_whisper", "native")
        job = client.wait(client.submit(SAMPLES["short"].path, word_timestamps=True).id, seconds=150)
        assert job.status.value == "completed", log.read_text()
        assert " ".join(client.result(job.id, "text").split()) == SAMPLES["short"].transcript
    assert list((tmp_path / "copies").glob("??/*"))
    assert not (tmp_path / "blobs").exists()


def test_worker_that_may_not_have_the_audio_holds_the_job_until_its_deadline_and_says_why(
    api_alone: TestPlatform, tmp_path: Path
) -> None:
    flags = ["--engine", "faster-whisper", "--audio", api_alone.url]
    wrong = {"MURMUR_BLOBS__SECRET": "not the API's secret"}
    variables = {**wrong, "MURMUR_LEASE__MAX_ATTEMPTS": "1", "MURMUR_WORKER__QUARANTINE_AFTER": "1"}
    with (
        native_worker(api_alone, with_ready_model(tmp_path), *flags, **variables) as log,
        api_alone.client() as client,
    ):
        eventually(client.ready, within_s=60)
        held = client.submit(SAMPLES["german"].path)  # no fault of the job's: it waits for hours

        def said() -> str:
            workers = httpx.get(f"{api_alone.url}/health/async").json()["workers"]
            return next((worker["quarantine"] for worker in workers if worker["quarantine"]), "")

        reason = eventually(said, within_s=60, every_s=0.1)
        assert reason.startswith("storage: ")
        assert "status 403; MURMUR_BLOBS__SECRET and the clock must be those of the API" in reason
        # Its log says it of the attempt, which counts as the platform's fault, and of the worker.
        (attempt,) = [line for line in log.read_text().splitlines() if " failed attempt=1 " in line]
        assert "fault=platform" in attempt
        quarantined = [line for line in log.read_text().splitlines() if "ERROR quarantine" in line]
        assert ["MURMUR_BLOBS__SECRET" in line and "part=storage" in line for line in quarantined] == [True]
        hurried = client.submit(SAMPLES["short"].path, deadline_s=2)
        with pytest.raises(JobEnded) as ended:
            client.wait(hurried.id, seconds=60)
        assert ended.value.job.error is not None
        assert ended.value.job.error.code == "deadline_exceeded"
        assert not client.job(held.id).status.terminal
        client.cancel(held.id)


def test_worker_takes_its_secrets_from_a_compose_file_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'MURMUR_HTTP_PORT=8080\nMURMUR_BLOBS__SECRET="of both sides, of course"\nMURMUR_MODEL=tiny\nPATH=/x\n'
    )
    for name in ("MURMUR_HTTP_PORT", "MURMUR_BLOBS__SECRET"):
        monkeypatch.setenv(name, "")  # what is borrowed then goes at the test's end
        monkeypatch.delenv(name)
    monkeypatch.setenv("MURMUR_MODEL", "demo")
    borrow(file)
    settings = Settings()
    assert settings.blobs.signing_key() == "of both sides, of course"
    assert settings.model == "demo"
    assert os.environ["PATH"] != "/x"
    monkeypatch.delenv("MURMUR_BLOBS__SECRET")
    with pytest.raises(CliError, match="no file"):
        borrow(tmp_path / "none")


def test_log_moves_on_when_it_is_full(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "worker.log", most_bytes=1000)
    for number in range(2000):
        log.line("worker", f"line {number}")
    log.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) == 15
    assert all(file.stat().st_size <= 1000 for file in files)
    assert "line 1999" in files[0].read_text()


def test_log_moves_on_with_another_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "worker.log"

    def write(text: str, *, days: float) -> None:
        monkeypatch.setattr(logging, "makeLogRecord", lambda fields: made(fields | {"created": days * 86_400}))
        log.line("worker", text)

    made = logging.makeLogRecord
    log = LogFile(path)
    for text, days in (("one", 1.3), ("two", 1.4), ("three", 2.5)):
        write(text, days=days)
    log.close()
    os.utime(path, (2.5 * 86_400,) * 2)
    # Another process goes on the same day, and on the next one.
    log = LogFile(path)
    for text, days in (("four", 2.6), ("five", 3.5)):
        write(text, days=days)
    log.close()
    found = [path.with_name(name).read_text().split() for name in ("worker.log.2", "worker.log.1", "worker.log")]
    assert [words[2::3] for words in found] == [["one", "two"], ["three", "four"], ["five"]]


FAKE_LAUNCHCTL = """#!/bin/sh
echo "$@" >> "$LAUNCHCTL_LOG"
state="$LAUNCHCTL_LOG.loaded"
case $1 in
  bootstrap) [ -e "$state" ] && { echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }; touch "$state" ;;
  bootout) [ -e "$state" ] || exit 3; touch "$state.ending" ;;
  print) [ -e "$state" ] || exit 113; printf 'gui/501/x = {\n\tstate = running\n\tpid = 4711\n}\n'
    [ -e "$state.ending" ] && rm "$state" "$state.ending"; exit 0 ;;
esac
"""


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a launchctl that keeps a log, minds whether the agent is loaded, and takes a while to end it."""
    program = tmp_path / "bin" / "launchctl"
    program.parent.mkdir()
    program.write_text(FAKE_LAUNCHCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAUNCHCTL_LOG", str(tmp_path / "calls"))
    return tmp_path


class Murmur(Protocol):
    def __call__(self, *words: str) -> tuple[int, str, str]: ...


@pytest.fixture
def murmur(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Murmur:
    """Run a command in this process; its status, and what it wrote to both streams."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["murmur", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_service_is_installed_once_said_to_run_and_removed(
    mac: Path, murmur: Murmur, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the bucket")
    options = [
        "worker",
        "--ledger",
        "redis://:password@127.0.0.1/0",
        "--engine",
        "mlx",
        "--data-dir",
        str(mac / "data"),
    ]
    assert murmur("worker", "status")[0] == 1
    for _ in range(2):  # the second time takes the place of the first
        assert murmur(*options, "install-service")[0] == 0
    path = mac / "Library" / "LaunchAgents" / "io.murmuration.worker.plist"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    agent = plistlib.loads(path.read_bytes())
    assert agent["Label"] == launchd.LABEL
    assert agent["KeepAlive"]
    assert agent["RunAtLoad"]
    assert agent["ProgramArguments"][1:4] == ["-m", "murmur", "worker"]
    assert agent["EnvironmentVariables"]["MURMUR_LEDGER__URL"] == "redis://:password@127.0.0.1/0"
    assert agent["EnvironmentVariables"]["MURMUR_WORKER__ENGINE"] == "mlx_whisper"
    assert agent["EnvironmentVariables"]["AWS_ACCESS_KEY_ID"] == "of the bucket"
    assert "/opt/homebrew/bin" in agent["EnvironmentVariables"]["PATH"]
    assert murmur("worker", "status") == (0, "io.murmuration.worker: running, pid 4711\n", "")
    assert murmur("worker", "uninstall-service")[0] == 0
    assert not path.exists()
    assert murmur("worker", "status")[1] == "io.murmuration.worker isn't installed\n"
    assert [call.split()[0] for call in (mac / "calls").read_text().splitlines()] == [
        "print",
        "bootout", "print", "bootstrap",
        "bootout", "print", "print", "bootstrap",
        "print",
        "bootout", "print", "print",
        "print",
    ]  # fmt: skip


def test_dry_run_prints_what_a_parser_of_property_lists_takes(murmur: Murmur) -> None:
    _, shown, _ = murmur("worker", "--engine", "mlx", "install-service", "--dry-run")
    assert plistlib.loads(shown.encode())["ProgramArguments"][-2] == "--log-file"


def test_service_is_refused_where_there_is_no_launchd(
    murmur: Murmur, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, complaint = murmur("worker", "status")
    assert status == 2
    assert "launchd is macOS's" in complaint


def test_worker_says_at_once_what_it_would_die_of(
    murmur: Murmur, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MURMUR_BLOBS__SECRET", raising=False)
    status, _, complaint = murmur("worker", "--data-dir", str(tmp_path), "--audio", "http://127.0.0.1:1")
    assert (status, "MURMUR_BLOBS__SECRET must be set" in complaint) == (2, True)
    with claimed(tmp_path, worker="native"):
        status, _, complaint = murmur("worker", "--data-dir", str(tmp_path))
    assert (status, "'native' runs already" in complaint) == (2, True)
