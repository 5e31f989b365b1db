"""`murmur worker`: what its options come to, what its service is told, and how it ends, without a process."""

import plistlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from murmur.cli.main import app
from murmur.errors import CliError
from murmur.platform import launchd
from murmur.platform import worker as module
from murmur.platform.data_dir import claimed
from murmur.platform.log_file import KEPT
from murmur.platform.processes import Program
from murmur.platform.worker import WorkerOptions
from transcription.settings import Settings, Worker
from transcription.storage.model_hub import DEFAULT_MODEL


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[WorkerOptions]:
    """Every worker that would have run, in a directory without settings."""
    found: list[WorkerOptions] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "run", found.append)
    return found


def worker(*argv: str) -> Result:
    ran = CliRunner().invoke(app, ["worker", *argv])
    assert ran.exit_code == 0, ran.output
    return ran


def test_help_tells_of_as_many_log_files_as_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "14 older ones" in worker("--help").output
    assert KEPT == 14


def test_options_of_the_command_line_are_the_worker_s_settings(
    asked: list[WorkerOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MURMUR_WORKER__THREADS", "")  # what is borrowed then goes at the test's end
    monkeypatch.delenv("MURMUR_WORKER__THREADS")
    (tmp_path / "of.env").write_text("MURMUR_WORKER__THREADS=3\n")
    worker(
        "--engine", "mlx", "--ledger", "redis://ledger/0", "--audio", "s3://bucket", "--slots", "7", "--name", "mac",
        "--data-dir", "data", "--env-file", "of.env", "--log-file", "logs/w.log", "--no-awake",
    )  # fmt: skip
    (options,) = asked
    settings = options.settings
    assert (options.name, options.log_file, options.awake) == ("mac", tmp_path / "logs" / "w.log", False)
    assert settings.ledger.url.get_secret_value() == "redis://ledger/0"
    assert (settings.blobs.url, settings.worker.slots, settings.worker.threads) == ("s3://bucket", 7, 3)
    assert (settings.worker.engine, settings.model) == ("mlx_whisper", DEFAULT_MODEL)
    assert (settings.data_dir, settings.log_format) == (tmp_path / "data", "text")


@pytest.mark.parametrize(
    ("given", "engine"), [("mlx", "mlx_whisper"), ("faster-whisper", "faster_whisper"), ("auto", "auto")]
)
def test_engine_is_called_by_its_common_name(asked: list[WorkerOptions], given: str, engine: str) -> None:
    worker("--engine", given, "--model", "demo")
    assert (asked[0].settings.worker.engine, asked[0].settings.model) == (engine, "demo")


@pytest.mark.parametrize(("flags", "told"), [([], []), (["--no-awake"], ["--no-awake"])])
def test_service_runs_the_worker_with_the_options_that_were_given(
    asked: list[WorkerOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], told: list[str]
) -> None:
    monkeypatch.setattr(launchd, "install", lambda _: pytest.fail("a dry run installed it"))
    monkeypatch.setenv("HF_TOKEN", "of the hub")
    shown = worker("--name", "mac", "--slots", "7", "--data-dir", "data", *flags, "install-service", "--dry-run")
    agent = plistlib.loads(shown.stdout_bytes)
    log = str(tmp_path / "data" / "logs" / "worker.log")
    assert agent["ProgramArguments"][3:] == ["worker", "--name", "mac", "--log-file", log, *told]
    expected = {
        "HF_TOKEN": "of the hub", "MURMUR_WORKER__SLOTS": "7", "MURMUR_DATA_DIR": str(tmp_path / "data"),
    }  # fmt: skip
    assert expected.items() <= agent["EnvironmentVariables"].items()
    assert asked == []


class Supervisor:
    """Has one program, and is interrupted after a few looks."""

    def __init__(self, *_: object) -> None:
        self.started: list[Program] = []
        self.looks = 0
        self.stopped: list[str] = []
        made.append(self)

    def start(self, program: Program) -> None:
        self.started.append(program)

    def restart_exited(self) -> None:
        self.looks += 1
        if self.looks == 3:
            signal.raise_signal(signal.SIGTERM)

    def names(self) -> list[str]:
        return [program.name for program in self.started]

    def stop(self, names: list[str]) -> None:
        self.stopped += names

    def kill(self) -> None:
        pytest.fail("it was killed")


made: list[Supervisor] = []


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Supervisor]]:
    made.clear()
    monkeypatch.setattr(module, "Supervisor", Supervisor)
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.0)
    ticks = iter(range(1000))
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda _: next(ticks)))  # ends what would look for ever
    before: Any = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def test_worker_is_looked_after_until_it_is_told_to_stop_and_then_ends_and_leaves_its_name(
    supervised: list[Supervisor], tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    settings = Settings(data_dir=tmp_path, model="demo", worker=Worker(threads=3))
    options = WorkerOptions(settings, "mac", None, awake=False)
    module.run(options)
    (supervisor,) = supervised
    (program,) = supervisor.started
    assert (supervisor.looks, supervisor.stopped) == (3, ["worker"])
    assert signal.getsignal(signal.SIGTERM) is before
    assert program.argv[-1] == "mac@%h"
    assert (program.env["OMP_NUM_THREADS"], program.env["OPENBLAS_NUM_THREADS"]) == ("3", "1")
    assert program.env["MURMUR_MODEL"] == "demo"
    with claimed(tmp_path, worker="mac"), pytest.raises(CliError, match="'mac' runs already"):
        module.run(options)
