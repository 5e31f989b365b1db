"""
The C library's functions that a process is locked in by, looked up once.

A look-up reads the tables of every library that is loaded. In a process that was forked for one recording that costs
more than all of the calls together, so it is done before the fork.
"""

import ctypes
from typing import Any

_LIBRARY = ctypes.CDLL(None)


def _missing(*_: object) -> int:
    return -1


def _function(name: str) -> Any:
    """A function of the C library; one that always fails where the library hasn't got it, as on macOS."""
    return getattr(_LIBRARY, name, _missing)


prctl, syscall, unshare = (_function(name) for name in ("prctl", "syscall", "unshare"))
