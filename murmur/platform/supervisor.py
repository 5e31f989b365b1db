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
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class ManagedProcess:
    """A program in our care: its process, None between a death and the next start, and its quick deaths in a row."""

    program: Program
    process: Process | None
    deaths: int = 0
    pause_s: float = 0.0
    start_at: float = 0.0
    last_lines: list[str] = field(default_factory=list)


class Supervisor:
    """
    Runs programs. It has no thread of its own: call `restart_exited` several times a second.

    Args:
        sink: Takes the programs' lines.
        say: Takes the supervisor's own sentences.
        deaths: How many quick deaths in a row are too many.
        run: Makes a running process of a program.
    """

    def __init__(
        self,
        sink: Sink,
        say: Callable[[str], None],
        *,
        deaths: int = QUICK_DEATHS,
        run: Callable[[Program, Sink], Process] = Process,
    ) -> None:
        self._sink = sink
        self._say = say
        self._deaths = deaths
        self._make = run
        self._managed: dict[str, ManagedProcess] = {}

    def start(self, program: Program) -> Process:
        """Start a program and keep it running from now on."""
        managed = ManagedProcess(program, None)
        self._managed[program.name] = managed
        return self._run(managed)

    def adopt(self, program: Program, process: Process) -> None:
        """Keep a program running that was started elsewhere."""
        self._managed[program.name] = ManagedProcess(program, process)

    def process(self, name: str) -> Process | None:
        """The program's process, None while there is none."""
        return self._managed[name].process

    def check_started(self) -> None:
        """Before the platform is ready, nothing is replaceable. CliError: a program has died too often."""
        for managed in self._managed.values():
            if managed.deaths >= self._deaths:
                raise _gave_up(managed, "at its start")

    def restart_exited(self) -> None:
        """
        Notice deaths, and start again what is due.

        Raises:
            CliError: a program has died too often.
        """
        for managed in self._managed.values():
            if managed.process is None:
                if time.monotonic() >= managed.start_at:
                    self._run(managed)
            elif (status := managed.process.poll()) is not None:
                self._handle_exit(managed, managed.process, status)

    def stop(self, names: list[str]) -> None:
        """Give these programs up and end them side by side: SIGTERM, then, after each one's grace, SIGKILL."""
        managed = [self._managed[name] for name in names]
        running = [managed.process for managed in managed if managed.process is not None]
        for process in running:
            process.terminate()
        deadline = {process: time.monotonic() + process.program.grace_s for process in running}
        for process in running:
            if not process.wait(deadline[process] - time.monotonic()):
                self._say(f"{process.program.name} doesn't end within {process.program.grace_s:g} s: killed")
            process.kill()
            process.wait(5.0)
        for name in names:
            del self._managed[name]

    def kill(self) -> None:
        """End everything at once, without looking what becomes of it: this may be called from a signal handler."""
        for managed in self._managed.values():
            if managed.process is not None:
                managed.process.kill()

    def names(self) -> list[str]:
        """The programs in our care, in the order of their start."""
        return list(self._managed)

    def _run(self, managed: ManagedProcess) -> Process:
        def listen(name: str, line: str) -> None:
            managed.last_lines[:] = [line]
            self._sink(name, line)

        managed.process = self._make(managed.program, listen)
        return managed.process

    def _handle_exit(self, managed: ManagedProcess, process: Process, status: int) -> None:
        process.kill()
        process.wait(1.0)
        managed.process = None
        name, age = managed.program.name, process.age_s
        # Whoever waited long for its start must live the longer to be thought well again.
        managed.deaths = managed.deaths + 1 if age < max(QUICK_S, 2 * managed.pause_s) else 1
        if managed.deaths >= self._deaths and not managed.program.replaceable:
            raise _gave_up(managed, cause(status))
        pause = managed.pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (managed.deaths - 1))
        managed.start_at = time.monotonic() + pause
        often = f", for the {managed.deaths}th time in a row" if managed.deaths >= self._deaths else ""
        self._say(f"{name} died after {age:.0f} s ({cause(status)}){often}; it starts again in {pause:g} s")


def _gave_up(managed: ManagedProcess, how: str) -> CliError:
    last = managed.last_lines[-1:] or ["it said nothing"]
    return CliError(
        f"{managed.program.name} died {managed.deaths} times in a row ({how}); at last: {last[0]}", status=1
    )


def cause(status: int) -> str:
    """How a process came to its end, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
