"""How the parent of an API's processes treats those that die or hang: on a clock that the test moves."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from api import processes
from tests.platform import eventually

Supervised = Callable[[str], processes.Processes]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the test sets, in place of the machine's."""
    now = [1000.0]
    monkeypatch.setattr("api.processes.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    """Gives a parent whose one process runs a line of shell."""
    made: list[processes.Processes] = []

    def one(script: str) -> processes.Processes:
        bound = processes.listeners("127.0.0.1", 0, 1)
        made.append(processes.Processes(bound, lambda *_: ["/bin/sh", "-c", script], stop_s=0.1))
        made[-1]._start(made[-1]._places[0])
        return made[-1]

    yield one
    for each in made:
        each._places[0].listener.close()
        if each._places[0].process is not None:
            each._places[0].process.kill()
            each._places[0].process.wait()
        os.close(each._life)
        os.close(each._parents_end)


def died(each: processes.Processes, figures: Path) -> int:
    """Wait until its process is dead, and let the parent see it."""
    process = each._places[0].process
    assert process is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return each._look(str(figures))


def test_who_dies_at_once_is_started_again_after_ever_longer_pauses(
    supervised: Supervised, clock: list[float], tmp_path: Path
) -> None:
    each, pauses = supervised("exit 7"), []
    place = each._places[0]
    for _ in range(4):
        assert died(each, tmp_path) == 0
        pauses.append(round(place.start_at - clock[0], 3))
        assert each._look(str(tmp_path)) == 0
        assert place.process is None
        clock[0] = place.start_at
        each._look(str(tmp_path))
        assert place.process is not None
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    assert died(each, tmp_path) == 7


def test_deaths_that_are_months_apart_end_nobody_else(
    supervised: Supervised, clock: list[float], tmp_path: Path
) -> None:
    each = supervised("exit 7")
    for _ in range(10):
        clock[0] += 30 * 86_400
        assert died(each, tmp_path) == 0
        clock[0] = each._places[0].start_at
        each._look(str(tmp_path))


def test_what_a_dead_process_had_in_hand_is_counted_no_longer(supervised: Supervised, tmp_path: Path) -> None:
    each = supervised("exit 7")
    process = each._places[0].process
    assert process is not None
    of_the_dead = tmp_path / f"gauge_livesum_{process.pid}.db"
    of_the_dead.touch()
    of_another = tmp_path / "gauge_livesum_1.db"
    of_another.touch()
    died(each, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [of_another.name]


def test_who_does_not_end_at_the_stop_is_killed(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "MORE_GRACE_S", 0.1)
    ready = tmp_path / "ready"
    each = supervised(f"trap '' TERM; : > {ready}; exec sleep 60")
    process = each._places[0].process
    assert isinstance(process, subprocess.Popen)
    eventually(ready.exists)
    wait = process.wait
    monkeypatch.setattr(process, "wait", lambda timeout=20: wait(timeout))
    each._stop()
    assert process.returncode == -signal.SIGKILL


INTERRUPTED = """
import os, signal, sys, threading
from api import processes

def look(frame, event, arg):
    if frame.f_code is threading.Condition.wait.__code__:
        return tell

def tell(frame, event, arg):
    sys.settrace(None)
    signal.raise_signal(signal.SIGTERM)

threading.Timer(1, os.kill, [os.getpid(), signal.SIGTERM]).start()
bound = processes.listeners("127.0.0.1", 0, 1)
parent = processes.Processes(bound, lambda *_: ["/bin/sh", "-c", "exec sleep 60"], stop_s=5)
sys.settrace(look)
sys.exit(parent.run())
"""


def test_a_signal_that_comes_while_the_parent_begins_to_wait_ends_it() -> None:
    """Python's own waiting takes a lock, which whoever sets what is waited for takes, too; in the same thread."""
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=60, check=False)
    assert ran.returncode == 0
