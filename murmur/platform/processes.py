"""Child processes: each in a session of its own, its output read line by line, none outliving us."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
PRIVATE = 0o077
"""What children write is nobody else's on this machine."""
Sink = Callable[[str, str], None]
"""Takes a child's name and a line that it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    What to run.

    ``last_signal`` is what the program gets when the process that started it dies without a word; ``grace_s`` is
    how long it may take to end after SIGTERM; ``descriptors`` are the open files it inherits. ``replaceable``: others
    go on without it, so it is started again however often it dies.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    last_signal: int = signal.SIGKILL
    grace_s: float = 10.0
    descriptors: tuple[int, ...] = ()
    directory: Path | None = None
    replaceable: bool = False


class Started(Protocol):
    """What is asked of a child: that much of `subprocess.Popen`. Its output and its errors are one pipe."""

    stdout: IO[bytes] | None
    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit status once there is one. subprocess.TimeoutExpired: none within *timeout* seconds."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""

    def kill(self) -> None:
        """Send SIGKILL."""


def start(program: Program) -> Started:
    """Start *program* in a session of its own, watched by parent_death.py."""
    watched = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), str(int(program.last_signal))]
    return subprocess.Popen(  # noqa: S603  the programs are our own
        [*watched, *program.argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **program.env},
        start_new_session=True,
        pass_fds=program.descriptors,
        cwd=program.directory,
        umask=PRIVATE,
    )


class Process:
    """
    A running program.

    Start it from the main thread: Linux takes the death of the *thread* that started a child for its parent's.
    *start* is how: a run of tests has a quicker way for hundreds of the same kind.
    """

    def __init__(self, program: Program, sink: Sink, *, start: Callable[[Program], Started] = start) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self._popen = start(program)
        assert self._popen.stdout is not None  # noqa: S101  for mypy: it is a pipe
        self._reader = threading.Thread(
            target=_read, args=(self._popen.stdout, program.name, sink), name=f"log-{program.name}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The program's process id, which is its session's and process group's too."""
        return self._popen.pid

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_at

    def poll(self) -> int | None:
        """The exit status (negative: the signal that killed it), or None while it runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Ask for an orderly end."""
        if self.poll() is None:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program, and whatever it started, at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # macOS answers EPERM for a group whose members have all ended.
            self._popen.kill()

    def wait(self, seconds: float) -> bool:
        """Whether the program ends within *seconds*; its last lines have then been read."""
        try:
            self._popen.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(2.0)
        return True

    def stop(self) -> None:
        """End the program: SIGTERM, and SIGKILL for what is left of its group once its grace has passed."""
        self.terminate()
        self.wait(self.program.grace_s)
        self.kill()
        self.wait(5.0)


def _read(pipe: IO[bytes], name: str, sink: Sink) -> None:
    with pipe:
        for line in pipe:
            if line.strip():
                sink(name, line.decode(errors="replace").rstrip())
