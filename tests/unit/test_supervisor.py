"""The supervisor: what dies is started again after a growing pause; what can't live is given up with its reason."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from murmur.errors import CliError
from murmur.platform import supervisor as module
from murmur.platform.processes import Process, Program, Sink
from murmur.platform.supervisor import Supervisor
from tests.platform import eventually

PAUSES = (0.2, 0.4, 0.8)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    running = Supervisor(lambda *_: None, said.append, deaths=4)
    yield running
    running.stop(running.names())


def program(code: str, name: str = "p") -> Program:
    return Program(name=name, argv=[sys.executable, "-c", code], grace_s=10.0)


def tended(supervisor: Supervisor) -> bool:
    supervisor.restart_exited()
    return False


def test_pause_after_each_quick_death_is_twice_the_one_before_and_the_last_is_the_end(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.2)
    began: list[float] = []

    def noting(program: Program, sink: Sink) -> Process:
        began.append(time.monotonic())
        return Process(program, sink)

    supervisor = Supervisor(lambda *_: None, said.append, deaths=4, run=noting)
    supervisor.start(program("print('no disk', flush=True); raise SystemExit(3)"))
    with pytest.raises(CliError) as given_up:
        eventually(lambda: tended(supervisor), within_s=60)
    assert "p died 4 times in a row (exit status 3); at last: no disk" in str(given_up.value)
    assert given_up.value.status == 1
    assert len(began) == 4
    for pause, (before, after) in zip(PAUSES, pairwise(began), strict=True):
        assert after - before >= pause
    assert [line.partition("; ")[2] for line in said] == [
        f"it starts again in {pause:g} s" for pause in (0.2, 0.4, 0.8)
    ]


def test_replaceable_program_is_started_ever_more_slowly_and_never_given_up_once_the_platform_is_ready(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.04)
    supervisor.start(replace(program("raise SystemExit(3)"), replaceable=True))
    eventually(lambda: tended(supervisor) or len(said) >= 8, within_s=60)
    pauses = [float(line.split(" in ")[-1].removesuffix(" s")) for line in said]
    assert pauses[:8] == [0.01, 0.02, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04]
    assert "for the 8th time in a row" in said[7]
    with pytest.raises(CliError, match="p died"):
        supervisor.check_started()


def test_deaths_far_apart_are_not_counted_together(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "QUICK_S", 0.0)
    supervisor.start(program("pass"))
    eventually(lambda: tended(supervisor) or len(said) >= 6, within_s=60)
    assert all(line.endswith("it starts again in 0.01 s") for line in said)


def test_program_that_lives_is_left_alone_and_one_that_was_killed_comes_back(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    first = supervisor.start(program("import time; time.sleep(60)"))
    other = supervisor.start(program("import time; time.sleep(60)", "q"))
    for _ in range(10):
        supervisor.restart_exited()
    assert supervisor.process("p") is first
    first.kill()
    eventually(lambda: tended(supervisor) or supervisor.process("p") not in (first, None), within_s=30)
    assert supervisor.process("q") is other
    assert "killed by SIGKILL" in said[0]


def test_stop_ends_by_asking_first_and_kills_what_does_not_listen(said: list[str]) -> None:
    running = Supervisor(lambda *_: None, said.append)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    heard: list[str] = []
    running._sink = lambda _, line: heard.append(line)
    process = running.start(Program(name="deaf", argv=[sys.executable, "-c", deaf], grace_s=0.3))
    eventually(lambda: heard == ["deaf"], within_s=30)
    running.stop(["deaf"])
    assert process.poll() is not None
    assert said == ["deaf doesn't end within 0.3 s: killed"]
    assert running.names() == []
