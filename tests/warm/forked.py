"""A program that a warm process forks for us, and the warm processes of a run: the first that needs one starts it."""

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from murmur.packages import ROOT
from tests.run_directory import owner, run_directory


class Streams(NamedTuple):
    """A program's standard input, DEVNULL or a descriptor, and its output and errors, DEVNULL or PIPE."""

    given: int
    said: int


class Forked:
    """A program that was forked for us: what `Process` asks of it, as `subprocess.Popen` would answer."""

    def __init__(self, path: Path, argv: object, request: dict[str, object], streams: Streams) -> None:
        self._argv = argv
        self._lock = threading.Lock()
        self._status: int | None = None
        self.stdout: IO[bytes] | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ExitStack() as theirs:
            given = os.open(os.devnull, os.O_RDONLY) if streams.given == subprocess.DEVNULL else os.dup(streams.given)
            theirs.callback(os.close, given)
            if streams.said == subprocess.PIPE:
                output, said = os.pipe()
                self.stdout = open(output, "rb")  # noqa: PTH123, SIM115  whoever reads closes it
            else:
                said = os.open(os.devnull, os.O_WRONLY)
            theirs.callback(os.close, said)
            self._connection.connect(str(path))
            socket.send_fds(self._connection, [json.dumps(request).encode()], [given, said])
            self.pid = int(self._connection.recv(32))

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


def parent(module: str, environment: dict[str, str]) -> Path:
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
