"""Keeps programs running: starts again what dies, gives up on what can't live, stops everything in order."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from murmur.errors import CliError
from murmur.platform.processes import Process, Program, Sink

QUICK_S = 15.0
QUICK_DEATHS = 5
FIRST_PAUSE_S = 0.5


@dataclass(slots=True)
class ManagedProcess:
    """A program in our care: its process, None between a death and the next start, and its quick deaths in a row."""

    program: Program
    process: Process | None
    deaths: int = 0
    start_at: float = 0.0
    last_words: list[str] = field(default_factory=list)


class Supervisor:
    """
    Runs programs; not a thread of its own: `tend` looks after them, and wants to be called several times a second.

    Args:
        sink: Takes the programs' lines.
        say: Takes the supervisor's own sentences.
        deaths: How many quick deaths in a row are too many.
    """

    def __init__(self, sink: Sink, say: Callable[[str], None], *, deaths: int = QUICK_DEATHS) -> None:
        self._sink = sink
        self._say = say
        self._deaths = deaths
        self._wards: dict[str, ManagedProcess] = {}

    def start(self, program: Program) -> Process:
        """Start a program and keep it running from now on."""
        ward = ManagedProcess(program, None)
        self._wards[program.name] = ward
        return self._run(ward)

    def adopt(self, program: Program, process: Process) -> None:
        """Keep a program running that was started elsewhere."""
        self._wards[program.name] = ManagedProcess(program, process)

    def process(self, name: str) -> Process | None:
        """The program's process, None while there is none."""
        return self._wards[name].process

    def tend(self) -> None:
        """
        Notice deaths, and start again what is due.

        Raises:
            Trouble: a program has died too often.
        """
        for ward in self._wards.values():
            if ward.process is None:
                if time.monotonic() >= ward.start_at:
                    self._run(ward)
            elif (status := ward.process.poll()) is not None:
                self._handle_exit(ward, ward.process, status)

    def stop(self, names: list[str]) -> None:
        """Give these programs up and end them side by side: SIGTERM, then, after each one's grace, SIGKILL."""
        wards = [self._wards[name] for name in names]
        running = [ward.process for ward in wards if ward.process is not None]
        for process in running:
            process.terminate()
        deadline = {process: time.monotonic() + process.program.grace_s for process in running}
        for process in running:
            if not process.wait(deadline[process] - time.monotonic()):
                self._say(f"{process.program.name} doesn't end within {process.program.grace_s:g} s: killed")
            process.kill()
            process.wait(5.0)
        for name in names:
            del self._wards[name]

    def kill(self) -> None:
        """End everything at once, without looking what becomes of it: this may be called from a signal handler."""
        for ward in self._wards.values():
            if ward.process is not None:
                ward.process.kill()

    def names(self) -> list[str]:
        """The programs in our care, in the order of their start."""
        return list(self._wards)

    def _run(self, ward: ManagedProcess) -> Process:
        def listen(name: str, line: str) -> None:
            ward.last_words[:] = [line]
            self._sink(name, line)

        ward.process = Process(ward.program, listen)
        return ward.process

    def _handle_exit(self, ward: ManagedProcess, process: Process, status: int) -> None:
        process.kill()
        process.wait(1.0)
        ward.process = None
        name, age = ward.program.name, process.age_s
        ward.deaths = ward.deaths + 1 if age < QUICK_S else 1
        if ward.deaths >= self._deaths:
            last = ward.last_words[-1:] or ["it said nothing"]
            raise CliError(f"{name} died {ward.deaths} times in a row ({cause(status)}); at last: {last[0]}", status=1)
        pause = FIRST_PAUSE_S * 2 ** (ward.deaths - 1)
        ward.start_at = time.monotonic() + pause
        self._say(f"{name} died after {age:.0f} s ({cause(status)}); it starts again in {pause:g} s")


def cause(status: int) -> str:
    """How a process came to its end, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
