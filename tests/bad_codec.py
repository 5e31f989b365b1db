"""Functions that behave as a codec with a bug would: for a sandbox to run."""

import ctypes
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from transcription.errors import TooLong


def misbehave(descriptor: int, *, how: str, path: str = "") -> Any:
    """Do as *how* says."""
    return _WAYS[how](descriptor, path)


def _eat(_: int, __: str) -> int:
    return len(bytearray(8 << 30))


def _spin(_: int, __: str) -> None:
    while True:
        pass


def _fill(descriptor: int, _: str) -> None:
    while True:
        os.write(descriptor, bytes(1 << 20))


def _open(_: int, path: str) -> int:
    return len([Path(path).open() for _ in range(100)])


def _connect(_: int, port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=2):
        return "connected"


def _refuse(_: int, __: str) -> None:
    raise TooLong("longer than the limit")


_WAYS: dict[str, Any] = {
    "segfault": lambda *_: ctypes.string_at(0),
    "abort": lambda *_: os.abort(),
    "killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "eat memory": _eat,
    "spin": _spin,
    "fill the disk": _fill,
    "open files": _open,
    "connect": _connect,
    "hang": lambda *_: time.sleep(600),
    "refuse": _refuse,
    "environment": lambda *_: sorted(os.environ),
    "read": lambda descriptor, _: os.read(descriptor, 100).decode(),
    "descriptors": lambda *_: len(list(Path("/dev/fd").iterdir())),
}
