"""
Several processes of one API: who binds the port, who starts them again, and who stops them.

The parent binds, and serves nobody. On Linux every process gets a listening socket of its own on the same port, among
which the kernel divides the connections; the parent holds all of them, so that what waits for a process that died is
taken by the next one. Elsewhere they share one socket. When the parent is told to stop it lets go of the sockets and
tells everybody; when it dies, they notice by a pipe whose other end is gone.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NoReturn

import structlog
from prometheus_client import multiprocess

BACKLOG = 2048
LOOK_S = 0.1
QUICK_S, QUICK_DEATHS = 5.0, 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
MORE_GRACE_S = 5.0
"""How long after `MURMUR_API__STOP_S` a process that doesn't end is killed."""

_SHARED_FIGURES, _FIGURES_PREFIX = "PROMETHEUS_MULTIPROC_DIR", "murmur-api-figures-"
_log = structlog.get_logger("api.processes")


@dataclass(slots=True)
class _Place:
    """One of the processes: its socket, and how it has fared."""

    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0


def listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """
    Bind a socket for each of *count* processes, all on one port; nobody listens yet.

    Raises:
        OSError: the port is somebody else's, or the address isn't this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    first = socket.socket(family, kind, protocol)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform != "linux":
        first.bind(address)
        return [first] * count
    with first:  # alone at first: a port that is shared with a stranger would be no error
        first.bind(address)
        address = first.getsockname()
    bound = []
    for _ in range(count):
        one = socket.socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        bound.append(one)
    return bound


class Processes:
    """
    Keeps processes running until it is told to stop.

    Args:
        bound: A listening socket for each.
        argv: Gives the command of a process, of its socket's and its pipe's descriptors.
        stop_s: How long a process may take to answer whom it has taken in.
    """

    def __init__(self, bound: list[socket.socket], argv: Callable[[int, int], list[str]], *, stop_s: float) -> None:
        self._places = [_Place(listener) for listener in bound]
        self._argv = argv
        self._stop_s = stop_s
        self._stops: SimpleQueue[int] = SimpleQueue()
        self._life, self._parents_end = os.pipe()

    def run(self) -> int:
        """Start everybody, start again who dies, and stop everybody at SIGTERM or SIGINT; the exit status."""
        with shared_figures() as figures, self._signals():
            for place in self._places:
                place.listener.listen(BACKLOG)
                self._start(place)
            status = 0
            while not self._told_to_stop() and not status:
                status = self._look(figures)
            self._stop()
        return status

    def _start(self, place: _Place) -> None:
        descriptors = place.listener.fileno(), self._life
        place.process = subprocess.Popen(self._argv(*descriptors), pass_fds=descriptors)  # noqa: S603  our own program
        place.started_at = time.monotonic()

    def _look(self, figures: str) -> int:
        """Start again who has died; the exit status where one can't live."""
        for place in self._places:
            if place.process is None:
                if time.monotonic() >= place.start_at:
                    self._start(place)
            elif (status := place.process.poll()) is not None:
                quick = time.monotonic() - place.started_at < QUICK_S
                place.deaths = place.deaths + 1 if quick else 1
                multiprocess.mark_process_dead(place.process.pid, figures)  # type: ignore[no-untyped-call]
                if place.deaths >= QUICK_DEATHS:
                    _log.error("an API process dies again and again", exit_status=status)
                    return status if status > 0 else 1
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (place.deaths - 1))
                _log.warning("an API process died and is started again", exit_status=status, pause_s=pause_s)
                place.process, place.start_at = None, time.monotonic() + pause_s
        return 0

    def _stop(self) -> None:
        # Whoever comes from now on is refused once the last process has let go, and asks another replica.
        for place in self._places:
            place.listener.close()
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._stop_s + MORE_GRACE_S
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
                continue
            process.kill()
            process.wait()

    def _told_to_stop(self) -> bool:
        """Whether a signal comes within a while."""
        try:
            self._stops.get(timeout=LOOK_S)
        except Empty:
            return False
        return True

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, _: FrameType | None) -> None:
            # Not an event: what it interrupts may be holding that one's lock, and would never let it go.
            self._stops.put(number)

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def shared_figures() -> Iterator[str]:
    """A directory in which the processes count together; the environment that they inherit names it."""
    # (prometheus_client looks for it when it is imported, so this is for processes that are started from now on.)
    directory = tempfile.mkdtemp(prefix=_FIGURES_PREFIX)
    os.environ[_SHARED_FIGURES] = directory
    try:
        yield directory
    finally:
        del os.environ[_SHARED_FIGURES]
        shutil.rmtree(directory, ignore_errors=True)


def begin_again_with_shared_figures(argv: list[str]) -> NoReturn:
    """Become *argv*, which names such a directory from its first import on: for a server that forks its processes."""
    os.environ[_SHARED_FIGURES] = tempfile.mkdtemp(prefix=_FIGURES_PREFIX)
    os.execv(argv[0], argv)  # noqa: S606  our own program


@contextmanager
def inherited_figures() -> Iterator[None]:
    """Delete the directory that `begin_again_with_shared_figures` made at the block's end."""
    try:
        yield
    finally:
        shutil.rmtree(os.environ[_SHARED_FIGURES], ignore_errors=True)


def end_with_parent(life: int) -> None:
    """Stop this process, in order, when the process at the other end of the pipe *life* is gone."""

    def watch() -> None:
        with suppress(OSError):
            os.read(life, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
