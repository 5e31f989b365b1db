"""A program that hangs is ended: by the image's health check from outside, and by its own watch of the event loop."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.loop_watch import EXIT_STUCK
from tests.compose_files import ROOT, SERVICES
from transcription.observability import restart_unwell

CHECK = ROOT / "transcription/observability/restart_unwell.py"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A check that fails with the status in the file `status`."""
    path = tmp_path / "check.py"
    path.write_text(f"import pathlib, sys\nsys.exit(int(pathlib.Path({str(tmp_path / 'status')!r}).read_text()))\n")
    return path


def looked(script: Path, state: Path, status: int, at: float) -> tuple[float, float]:
    (script.parent / "status").write_text(str(status))
    found = restart_unwell.check(str(script))
    assert found == status
    return restart_unwell.unwell_s(state, well=found in (0, restart_unwell.ALIVE), now=at)


def test_time_without_a_good_check_is_counted_from_the_first_bad_one(script: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert looked(script, state, 0, 100.0) == (0.0, 60.0)
    assert looked(script, state, 1, 105.0) == (0.0, 60.0)
    assert looked(script, state, 1, 110.0) == (5.0, 60.0)
    assert looked(script, state, 1, 170.0) == (65.0, 60.0)
    assert looked(script, state, 0, 175.0) == (0.0, 60.0)
    assert looked(script, state, 1, 180.0) == (0.0, 60.0)


def test_what_lives_and_is_not_well_is_not_ended(script: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for at in (0.0, 1000.0):
        assert looked(script, state, restart_unwell.ALIVE, at) == (0.0, 60.0)


def test_what_lives_is_told_to_docker_as_unwell_and_noted_as_no_reason_to_end_it(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["restart_unwell.py", str(script)])
    noted = []
    for status in (1, restart_unwell.ALIVE, 0):
        (tmp_path / "status").write_text(str(status))
        noted.append(
            (restart_unwell.main(), json.loads((tmp_path / "murmur-health.json").read_text())["since"] is None)
        )
    assert noted == [(1, False), (1, True), (0, True)]


def test_what_has_never_been_well_has_longer(script: Path, tmp_path: Path) -> None:
    assert looked(script, tmp_path / "state", 1, 5.0) == (0.0, 600.0)


@pytest.mark.parametrize("noted", ["", "{", "[]", '{"since": 1}'])
def test_notes_that_can_not_be_read_begin_anew(script: Path, tmp_path: Path, noted: str) -> None:
    (tmp_path / "state").write_text(noted)
    assert looked(script, tmp_path / "state", 1, 500.0)[0] == 0.0


def test_a_check_that_breaks_is_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "check.py").write_text("1 / 0\n")
    assert restart_unwell.check(str(tmp_path / "check.py")) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_only_what_an_init_has_started_is_ended(tmp_path: Path) -> None:
    for number, name, parent in ((1, "docker-init", 0), (7, "python (x) y", 1), (8, "sh", 7), (30, "python", 0)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
        (tmp_path / str(number) / "stat").write_text(f"{number} ({name}) S {parent} 0 0")
    assert restart_unwell.programs(tmp_path) == [7]
    (tmp_path / "1/comm").write_text("python\n")
    assert restart_unwell.programs(tmp_path) == []


def test_a_stopped_program_is_ended() -> None:
    said = "import time\nprint(1, flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE) as program:
        assert program.stdout
        program.stdout.readline()
        program.send_signal(signal.SIGSTOP)
        restart_unwell.end([program.pid])
        # Which of the two comes first is the kernel's.
        assert program.wait(30) in (-signal.SIGABRT, -signal.SIGKILL)


def test_an_api_that_answers_is_well_and_one_that_does_not_is_not(api: httpx.Client, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for port, status in ((api.base_url.port, 0), (deaf.getsockname()[1], 1)):
            told = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "MURMUR_API__PORT": str(port)}
            asked = [sys.executable, "-IS", CHECK, "api/health_check.py"]
            assert subprocess.run(asked, cwd=ROOT, env=told, capture_output=True, check=False).returncode == status


def test_containers_have_an_init_where_their_health_check_may_end_the_program() -> None:
    assert {name for name, one in SERVICES.items() if one.get("init")} == {"api", "worker"}
    for name in ("api", "worker"):
        assert SERVICES[name]["restart"] == "unless-stopped"


PROGRAM = """
import sys, threading, time
from api.loop_watch import LoopWatch
watch = LoopWatch(looks=5, every_s=0.05)
watch.start()
for _ in range(20):
    watch.beat()
    time.sleep(0.02)
print("stuck from now on", flush=True)
threading.Event().wait(60)
"""


def test_a_process_whose_event_loop_stands_still_says_where_and_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == EXIT_STUCK
    assert "stuck from now on" in ended.stdout
    assert "most recent call first" in ended.stderr
    assert "the event loop stands still" in ended.stdout + ended.stderr
