"""What a process that opens hostile files could reach: it tries, and says. For tests, and for `murmur check`."""

import ctypes
import fcntl
import mmap
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transcription.media import confinement

_SEIZE, _DETACH = 0x4206, 17  # it goes on running meanwhile
_MOST_DESCRIPTORS = 256


def attempts(descriptor: int, *, path: str, port: int, process: int) -> dict[str, Any]:
    """
    Try everything that a decoder has no business with.

    Args:
        descriptor: The input.
        path: A file that isn't the input.
        port: Where a server listens on the loopback address.
        process: A process of the same user.

    Returns:
        Under `reached` what could be done, under `layers` what the kernel granted, under `environment` its names, under
        `descriptors` how many are open.
    """
    tries: dict[str, Callable[[], object]] = {
        "read a file": lambda: Path(path).read_bytes(),
        "list a directory": lambda: os.listdir(Path(path).parent),  # noqa: PTH208  the call is meant
        "write a file": lambda: Path(f"{path}.written").write_bytes(b"x"),
        "delete a file": lambda: Path(path).unlink(),
        "make a link": lambda: os.symlink(path, f"{path}.link"),  # noqa: PTH211
        "open the input again": lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR),
        "read another's environment": lambda: Path(f"/proc/{process}/environ").read_bytes(),
        "read its own environment": lambda: Path("/proc/self/environ").read_bytes(),
        "trace another process": lambda: _trace(process),
        "signal another process": lambda: os.kill(process, 0),
        "run a program": lambda: os.posix_spawn(_program(), [_program()], {}),
        "fork": _fork,
        "connect": lambda: socket.socket().connect(("127.0.0.1", port)),
        "listen": lambda: socket.socket().bind(("127.0.0.1", 0)),
        "open a socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "run what it wrote": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    }
    return {
        "reached": [name for name, what in tries.items() if _succeeds(what)],
        "layers": confinement.granted,
        "environment": sorted(os.environ),
        "descriptors": sum(_is_open(number) for number in range(_MOST_DESCRIPTORS)),
    }


def _succeeds(what: Callable[[], object]) -> bool:
    try:
        what()
    except OSError:
        return False
    return True


def _trace(process: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_SEIZE, process, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    libc.ptrace(_DETACH, process, 0, 0)


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _program() -> str:
    return shutil.which("true") or "/usr/bin/true"


def _is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True
