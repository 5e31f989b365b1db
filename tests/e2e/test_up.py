"""`murmur up` as a person meets it: a process in a terminal, with children to look after."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from demo import SAMPLES
from murmur.cli.main import main
from murmur.client.client import Client
from tests.free_port import free_port
from tests.platform import eventually
from tests.processes import command, runs
from tests.ready_model import with_ready_model

MARK = "PLATFORM_UNDER_TEST"


@dataclass
class Up:
    """A `murmur up` of ours. Every process that it starts inherits the mark, by which all of them are found."""

    data_dir: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        argv = [sys.executable, "-m", "murmur", "up", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        self.process = subprocess.Popen(
            [*argv, "--model", "demo", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, MARK: self.mark},
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def started(self) -> set[psutil.Process]:
        """Every process of this platform, itself left out; one that only waits to be reaped doesn't count."""
        found = set()
        for process in psutil.process_iter():
            try:
                # The ledger's server writes its title over its environment, but works in the data directory.
                ours = process.environ().get(MARK) == self.mark or process.cwd().startswith(str(self.data_dir))
                if ours and runs(process) and process.pid != self.process.pid:
                    found.add(process)
            except (psutil.Error, OSError):
                continue
        return found

    def running(self, part: str) -> psutil.Process | None:
        """The child that runs *part*: `-server`, `api.main` or `celery`."""
        for process in self.started():
            if part in (argv := command(process)) and "parent_death.py" not in argv:
                return process
        return None

    def all_run(self) -> bool:
        return all(self.running(part) for part in ("-server", "api.main", "celery"))

    def ready(self) -> bool:
        with Client(self.url, timeout_s=2) as client:
            return client.ready()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self.lines.append(line.rstrip())


@contextmanager
def murmur_up(data_dir: Path, *arguments: str) -> Iterator[Up]:
    up = Up(data_dir, arguments)
    try:
        yield up
    except BaseException:
        print(up.said)
        raise
    finally:
        up.process.kill()
        up.process.wait()
        eventually(lambda: not up.started(), 20)
        up.reader.join()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that is ready."""
    with murmur_up(with_ready_model(tmp_path_factory.mktemp("up"))) as up:
        eventually(up.ready, 90)
        eventually(lambda: "Ctrl-C" in up.said, 20)
        yield up


def test_the_banner_says_where_everything_is(up: Up) -> None:
    for fact in (up.url, f"{up.url}/docs", "demo on cpu", str(up.data_dir)):
        assert fact in up.said
    if sys.platform == "linux":
        assert "glibc, tuned" in up.said


def test_lines_of_children_bear_their_names(up: Up) -> None:
    with Client(up.url) as client:
        client.jobs()
    eventually(lambda: {line.split("|")[0].strip() for line in up.lines} >= {"api", "w1"})


@pytest.mark.parametrize("part", ["celery", "api.main", "-server"])
def test_a_child_that_was_killed_is_started_again(up: Up, part: str) -> None:
    child = up.running(part)
    assert child is not None
    child.kill()
    eventually(lambda: up.running(part) not in (None, child), 20)
    eventually(up.ready, 60)
    name = {"celery": "w1", "api.main": "api", "-server": "ledger"}[part]
    assert f"{name} died after" in up.said
    assert "killed by SIGKILL" in up.said


def test_a_platform_that_lost_every_part_still_transcribes(up: Up) -> None:
    with Client(up.url, patience_s=60) as client:
        job = client.wait(client.submit(SAMPLES["short"].path, language="en").id, seconds=60)
        assert client.result(job.id, "json")["text"] == SAMPLES["short"].transcript


def test_a_data_directory_in_use_is_refused_in_one_sentence(
    up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, "--data-dir", up.data_dir)
    assert f"in use by a platform that runs (process {up.process.pid})" in said


def test_a_busy_port_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(monkeypatch, capsys, "--port", port, "--data-dir", tmp_path)
    assert f"port {port} on 127.0.0.1 is taken" in said


def test_a_missing_model_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "no model directory" in refused(monkeypatch, capsys, "--model", tmp_path / "none")
    assert "holds no model" in refused(monkeypatch, capsys, "--model", tmp_path)
    assert "'enormous'" in refused(monkeypatch, capsys, "--model", "enormous")


def test_a_data_directory_that_cannot_be_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "can't write to" in refused(monkeypatch, capsys, "--data-dir", tmp_path / "file" / "data")


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MURMUR_LEASE__TTL_S", "soon")
    assert "MURMUR_LEASE__TTL_S" in refused(monkeypatch, capsys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_platform_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    with murmur_up(tmp_path, "--workers", "2") as up:
        eventually(up.all_run, 60)
        up.process.send_signal(number)
        assert up.process.wait(30) == 0
        assert not up.started()
        assert "Traceback" not in up.said


def test_a_killed_platform_leaves_no_process_behind(tmp_path: Path) -> None:
    with murmur_up(tmp_path) as up:
        eventually(up.all_run, 60)
        up.process.kill()
        eventually(lambda: not up.started(), 15)


def test_a_second_signal_kills_what_is_left(tmp_path: Path) -> None:
    with murmur_up(tmp_path) as up:
        eventually(up.all_run, 60)
        deaf = up.running("celery")
        assert deaf is not None
        deaf.suspend()
        up.process.send_signal(signal.SIGINT)
        eventually(lambda: not up.running("api.main"), 20)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(60) == 128 + signal.SIGINT
        eventually(lambda: not up.started(), 20)


def test_a_child_that_cannot_live_ends_the_platform(tmp_path: Path) -> None:
    with murmur_up(tmp_path) as up:
        for _ in range(5):
            eventually(lambda: kill(up.running("api.main")), 60)
        assert up.process.wait(60) == 1
        assert not up.started()
        up.reader.join()
        assert up.lines[-1].startswith("murmur: api died 5 times in a row (killed by SIGKILL)")


def kill(process: psutil.Process | None) -> bool:
    """Kill *process* and see it gone; False if there is none."""
    if process is None:
        return False
    process.kill()
    eventually(lambda: not runs(process))
    return True


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `murmur up` says when it doesn't start."""
    argv = ["murmur", "up", "--model", "demo", "--port", free_port(), *arguments]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in argv])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("murmur: ")
    assert len(said.splitlines()) == 1
    return said
