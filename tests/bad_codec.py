"""Functions that behave as a codec with a bug would: for a sandbox to run."""

import ctypes
import os
import resource
import signal
import time
from typing import Any

from transcription.errors import TooLong


def misbehave(descriptor: int, *, how: str) -> Any:
    """Do as *how* says."""
    return _WAYS[how](descriptor)


def _eat(_: int) -> int:
    return len(bytearray(8 << 30))


def _spin(_: int) -> None:
    while True:
        pass


def _fill(descriptor: int) -> None:
    while True:
        os.write(descriptor, bytes(1 << 20))


def _refuse(_: int) -> None:
    raise TooLong("longer than the limit")


_WAYS: dict[str, Any] = {
    "segfault": lambda *_: ctypes.string_at(0),
    "abort": lambda *_: os.abort(),
    "killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "eat memory": _eat,
    "spin": _spin,
    "fill the disk": _fill,
    "hang": lambda *_: time.sleep(600),
    "refuse": _refuse,
    "core size": lambda *_: resource.getrlimit(resource.RLIMIT_CORE)[0],
    "read": lambda descriptor: os.read(descriptor, 100).decode(),
}
