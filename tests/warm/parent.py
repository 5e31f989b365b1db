"""
A process that has imported what a program imports, and becomes that program in a fork: most of a start is saved.

    python -m tests.warm.parent MODULE SOCKET OWNER

The command returns when somebody listens at SOCKET; that one stays in the background until the process OWNER has ended.
Whoever connects sends one message: JSON with the program's arguments, environment and directory, and descriptors for
its input and its output. The answer is the program's process id, and, when it has ended, its status as
`subprocess.Popen` has it. A program ends with whoever started it, and with this process.

What is forked has everything that it would have by itself: a session, its own standard streams, the signals'
defaults. Modules that look at their program's settings when they are imported aren't imported here.
"""

import gc
import importlib
import json
import os
import re
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.warm import zygotes
from transcription.media import libc

IMPORTED = {
    "api.main": (
        "api.app", "api.garbage", "api.processes", "api.server", "api.takeover", "uvicorn.lifespan.on",
        "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto",
    ),
    "celery": (
        "celery.apps.worker", "celery.bin.celery", "celery.concurrency.thread", "celery.worker.components",
        "celery.worker.consumer", "celery.worker.strategy", "worker.consumer.control",
        "worker.consumer.shared_transport", "worker.runtime", "worker.tasks",
    ),
    "tests.edge_backend": (
        "api.server", "starlette.applications", "uvicorn.lifespan.on", "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto",
    ),
    "tests.warm.told": (),
    "transcription.media.zygote": ("transcription.media.codecs.decode", "transcription.media.codecs.probe"),
}  # fmt: skip
"""By the module that is run: what it imports before it reads its settings, or without looking at them."""

MOST_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What a fork shall become: the words of `python`'s command line after -m MODULE, and the -W before it."""

    arguments: list[str]
    warnings: list[str]
    environment: dict[str, str]
    directory: str | None
    umask: int


def main() -> None:
    """Import, listen, leave for the background, fork; in a fork be the program."""
    module, path, owner = sys.argv[1:]
    gc.disable()
    for name in IMPORTED[module]:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        if os.fork():
            os._exit(0)
        request = _Forks(listener, os.pidfd_open(int(owner))).serve()
    _become(module, request)


class _Forks:
    """Takes requests and forks for them, in one thread."""

    def __init__(self, listener: socket.socket, owner: int) -> None:
        self._listener = listener
        self._owner = owner
        self._woken, self._wake = os.pipe()
        self._pids: dict[socket.socket, int] = {}

    def serve(self) -> Request:
        """Serve until the owner has ended, and this process with it; in each fork give what it shall become."""
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._listener, self._owner, self._woken, *self._pids], [], [])
            if self._owner in ready:
                shutil.rmtree(Path(self._listener.getsockname()).parent, ignore_errors=True)
                # At once: libraries would wait for threads that they had before the fork. Its programs end with it.
                os._exit(0)
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            for connection in self._pids.keys() & set(ready):  # who started it is gone
                os.kill(self._pids[connection], signal.SIGKILL)
            if self._listener in ready and (request := self._fork()) is not None:
                return request

    def _fork(self) -> Request | None:
        connection, _ = self._listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
        if not message:
            connection.close()
            return None
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            self._be_born(parent, connection, *descriptors)
            return Request(**json.loads(message))
        for descriptor in descriptors:
            os.close(descriptor)
        self._pids[connection] = pid
        connection.send(str(pid).encode())
        return None

    def _reap(self) -> None:
        """Tell of each that has ended how it did."""
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            connection = next(one for one, running in self._pids.items() if running == pid)
            del self._pids[connection]
            with connection:
                _say(connection, os.waitstatus_to_exitcode(status))

    def _be_born(self, parent: int, connection: socket.socket, given: int, output: int) -> None:
        """Let go, in a fork, of everything that is its parent's, and take what is its own."""
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (self._listener, connection, *self._pids):
            one.close()
        os.dup2(given, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in (self._owner, self._woken, self._wake, given, output):
            os.close(descriptor)


def _say(connection: socket.socket, status: int) -> None:
    try:
        connection.send(str(status).encode())
    except OSError:
        return  # nobody wants to know


def _become(module: str, request: Request) -> None:
    if module != zygotes.MODULE:
        zygotes.install()
    os.umask(request.umask)
    if request.directory is not None:
        os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None
    for option in request.warnings:
        action, _, message = option.partition(":")
        warnings.filterwarnings(cast("Any", action), re.escape(message))
    sys.argv = [module, *request.arguments]
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
