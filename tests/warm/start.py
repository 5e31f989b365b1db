"""Starts the platform's programs for tests: on Linux as forks of a process that has imported everything."""

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO

from murmur.packages import ROOT
from murmur.platform import processes
from murmur.platform.processes import PRIVATE, Process, Program, Started
from tests.run_directory import owner, run_directory
from tests.warm.parent import IMPORTED

OURS = ("MURMUR_", "STUB_", "TMPDIR")
"""Variables that no library reads while it is imported. Others, as OMP_NUM_THREADS, must be set for who forks, too."""


def start(program: Program) -> Started:
    """Start *program*: the API and Celery's worker from a warm process, everything else as a user does."""
    options = list(program.argv)
    if sys.platform != "linux" or options[0] != sys.executable or "-m" not in options:
        return processes.start(program)
    at = options.index("-m")
    module, arguments = options[at + 1], options[at + 2 :]
    if module not in IMPORTED:
        return processes.start(program)
    asked = {
        "arguments": arguments,
        "warnings": [value for option, value in pairwise(options[:at]) if option == "-W"],
        "environment": {**os.environ, **program.env},
        "directory": str(program.directory) if program.directory else None,
        "umask": PRIVATE,
    }
    theirs = {name: value for name, value in program.env.items() if not name.startswith(OURS)}
    return Forked(_warm(module, theirs), program.argv, json.dumps(asked).encode())


running = partial(Process, start=start)
"""Makes a running process of a program, for `LocalPlatform` and for tests that need one by itself."""


class Forked:
    """A program that was forked for us: what `Process` asks of it, as `subprocess.Popen` would answer."""

    def __init__(self, path: Path, argv: object, request: bytes) -> None:
        self._argv = argv
        self._lock = threading.Lock()
        self._status: int | None = None
        output, theirs = os.pipe()
        self.stdout: IO[bytes] | None = open(output, "rb")  # noqa: PTH123, SIM115  whoever reads closes it
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._connection.connect(str(path))
            socket.send_fds(self._connection, [request], [theirs])
            self.pid = int(self._connection.recv(32))
        finally:
            os.close(theirs)

    def poll(self) -> int | None:
        """The status, None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The status once there is one. TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self._argv), timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """To a program that runs; to none that has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(9)

    def _look(self, seconds: float | None) -> int | None:
        with self._lock:
            if self._status is None:
                self._connection.settimeout(seconds)
                try:
                    said = self._connection.recv(32)
                except (TimeoutError, BlockingIOError):
                    return None
                self._status = int(said) if said else -9  # the process that forked it took it along
                self._connection.close()
            return self._status


def _warm(module: str, environment: dict[str, str]) -> Path:
    """The socket of this run's process for programs with *environment* besides their settings; the first starts it."""
    which = hashlib.sha256(json.dumps([module, sorted(environment.items())]).encode()).hexdigest()[:8]
    path = run_directory() / f"{module}.{which}"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for the first
        if not path.exists():
            with path.with_suffix(".log").open("w") as log:
                subprocess.run(
                    [sys.executable, "-m", "tests.warm.parent", module, str(path), str(owner())],
                    check=True, timeout=100, cwd=ROOT, env={**os.environ, **environment}, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
    return path
