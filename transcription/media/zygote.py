"""
The process that hostile files are opened in: it imports the codecs once, then forks for every file.

Run as `python -m transcription.media.zygote MODULE:FUNCTION`, with a socket for its standard input. A request is a line
of JSON with descriptors: where the answer goes, then what the function works on. Each request gets a child of its own
with limits on memory, processor time, file size and descriptors, and locked in as far as the kernel grants it: see
confinement.py. The child writes its answer, this process adds how the child ended; see sandbox.py for the other end.

Nothing here knows a password, holds another file, or outlives the process that started it.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from transcription.errors import MurmurationError
from transcription.media import confinement, libc

MOST_REQUEST_BYTES = 4096
MOST_DESCRIPTORS = 8
FAILED = 3
"""Status of a child whose function raised what it doesn't answer itself."""

_PR_SET_PDEATHSIG = 1
_CPU_GRACE_S = 5

Work = Callable[..., Any]


def main() -> None:
    """Serve until the other end is closed."""
    module, _, name = sys.argv[1].partition(":")
    confinement.leave_network()
    function: Work = getattr(importlib.import_module(module), name)
    confinement.forget_environment()
    confinement.prepare()
    _virtual_bytes()
    # What is shared with the children stays shared.
    gc.collect()
    gc.freeze()
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(fileno=0) as requests:
        requests.send(b"1")
        children: dict[int, int] = {}
        own = _highest_descriptor()
        while True:
            ready, _, _ = select.select([requests.fileno(), wake], [], [])
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 1024)
                _reap(children)
            if requests.fileno() in ready and not _serve(requests, function, children, own):
                return


def _serve(requests: socket.socket, function: Work, children: dict[int, int], own: int) -> bool:
    """Take one request and fork for it; False when the other end is gone."""
    reply, descriptors, _, _ = socket.recv_fds(requests, MOST_REQUEST_BYTES, MOST_DESCRIPTORS)
    if not reply:
        return False
    request = json.loads(reply)
    answer, *given = descriptors
    highest = max(own, *descriptors, *children.values())
    pid = os.fork()
    if pid == 0:
        requests.detach()  # it is closed with all others
        _work(function, request, answer, given, highest)
    for descriptor in given:
        os.close(descriptor)
    children[pid] = answer
    requests.send(f"{pid}\n".encode())
    return True


def _work(function: Work, request: dict[str, Any], answer: int, given: list[int], highest: int) -> None:
    """Do the work in the child; never returns."""
    status = FAILED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but({answer, *given}, highest)
        _limit(request.pop("limits"))
        confined = request.pop("confined")
        if confined:
            confinement.give_up_files()
        # What isn't open can't be opened, files and sockets alike.
        _at_most(resource.RLIMIT_NOFILE, 0)
        if confined:
            confinement.filter_calls()
        _say(answer, {"value": function(*given, **request)})
        status = 0
    except MurmurationError as error:
        _say(answer, {"error": error.code, "message": error.message})
        status = 0
    except BaseException as error:  # noqa: BLE001  whatever it is ends with this child
        _say(answer, {"raised": type(error).__name__, "errno": getattr(error, "errno", None)})
    finally:
        os._exit(status)


def _say(answer: int, what: dict[str, Any]) -> None:
    os.write(answer, json.dumps(what).encode() + b"\n")


def _close_all_but(kept: set[int], highest: int) -> None:
    """Close what belongs to the zygote and to other children."""
    begin = 0
    for end in (*sorted(kept), highest + 1):
        if begin < end:  # an empty range before 0 would be every descriptor
            os.closerange(begin, end)
        begin = end + 1


def _highest_descriptor() -> int:
    """The last of the descriptors that this process has for itself."""
    return max(int(name) for name in os.listdir("/dev/fd"))  # noqa: PTH208  strings will do


def _reap(children: dict[int, int]) -> None:
    """Tell how each child that has ended did so: its exit status, or the negative number of the signal."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        answer = children.pop(pid)
        with contextlib.suppress(OSError):
            os.write(answer, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(answer)


def _limit(limits: dict[str, int]) -> None:
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_AS, _virtual_bytes() + limits["memory_bytes"])
    _at_most(resource.RLIMIT_CPU, limits["cpu_s"], grace=_CPU_GRACE_S)
    _at_most(resource.RLIMIT_FSIZE, limits["file_bytes"])


def _at_most(what: int, limit: int, *, grace: int = 0) -> None:
    """Set a limit where the system has it; macOS refuses some."""
    _, hard = resource.getrlimit(what)
    soft, last = (value if hard == resource.RLIM_INFINITY else min(value, hard) for value in (limit, limit + grace))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, last))


@cache
def _virtual_bytes() -> int:
    """Address space that the libraries take already, in a child as before the fork; 0: the system doesn't say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
