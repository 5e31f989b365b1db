"""What tests fork from a warm process differs in nothing from what users start, and ends as it does."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from murmur.platform import processes
from murmur.platform.processes import Process, Program, Started
from tests import run_directory
from tests.platform import eventually
from tests.processes import runs
from tests.warm import start as warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every program is started as users do")
STARTS = {"warm": warm.start, "as users": processes.start}
QUIET = "ignore:You're running the worker with superuser privileges"


def told(directory: Path, *arguments: str) -> Program:
    argv = [sys.executable, "-W", QUIET, "-m", "tests.warm.told", *arguments]
    env = {"MURMUR_MODEL": "demo", "PYTHONUNBUFFERED": "1", "TMPDIR": str(directory)}
    return Program(name="told", argv=argv, env=env, directory=directory)


def run(start: Callable[[Program], Started], program: Program) -> tuple[int | None, list[str]]:
    lines: list[str] = []
    process = Process(program, lambda _, line: lines.append(line), start=start)
    assert process.wait(60)
    return process.poll(), lines


def test_a_fork_has_what_a_start_gives(tmp_path: Path) -> None:
    found = {how: run(start, told(tmp_path, "7", "two words")) for how, start in STARTS.items()}
    assert [status for status, _ in found.values()] == [7, 7]
    warm_, real = (json.loads(lines[0]) for _, lines in found.values())
    assert warm_ == real
    assert real["argv"] == ["7", "two words"]
    assert real["directory"] == real["temporary"] == str(tmp_path)
    assert real["ignored"] == ["ignore"]
    assert [lines[1:] for _, lines in found.values()] == [["and an error"]] * 2


@pytest.mark.parametrize("how", STARTS)
def test_a_signal_that_ends_it_is_its_status(tmp_path: Path, how: str) -> None:
    lines: list[str] = []
    process = Process(told(tmp_path, "wait"), lambda _, line: lines.append(line), start=STARTS[how])
    eventually(lambda: lines)
    assert process.poll() is None
    assert not process.wait(0)
    process.terminate()
    assert process.wait(30)
    assert process.poll() == -signal.SIGTERM
    process.kill()  # of what has ended already


@pytest.mark.parametrize("how", ["warm.start", "processes.start"])
def test_it_ends_with_who_started_it_and_so_does_what_forked_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delenv(run_directory.VARIABLE)  # a run of its own
    code = (
        "import time; from pathlib import Path; from murmur.platform import processes;"
        "from tests.warm import start as warm;"
        "from tests.unit.test_warm_start import told; from murmur.platform.processes import Process;"
        f"p = Process(told(Path({str(tmp_path)!r}), 'wait'), lambda *_: None, start={how});"
        "print(p.pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = psutil.Process(int(starter.stdout.readline()))
        family = [child, psutil.Process(child.ppid())]
        starter.kill()
    eventually(lambda: not any(map(runs, family)))
