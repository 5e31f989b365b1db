"""Landlock: a Linux process takes every file, address and neighbour from itself that it doesn't hold already."""

import ctypes
import os
import platform
from functools import cache

from transcription.media.libc import syscall

_CREATE, _RESTRICT = 444, 446  # the same numbers on every machine
_VERSION = 1
_PATHS_BY_FORM = {1: 13, 2: 14, 3: 15, 5: 16}  # rights over files that each form of the interface knows, in bits
_NETWORK_FORM, _SCOPE_FORM = 4, 6
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract sockets, signals


class _Rules(ctypes.Structure):
    _fields_ = (("paths", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


@cache
def form() -> int:
    """The form of the interface that this kernel has, 0 for none."""
    if platform.system() != "Linux":
        return 0
    return max(0, int(syscall(_CREATE, None, 0, _VERSION)))


def restrict() -> bool:
    """
    Allow this process nothing of what Landlock can forbid, for good; it must have set no_new_privs before.

    False where the kernel has no Landlock, or isn't told to use it.
    """
    known = form()
    if not known:
        return False
    bits = max(count for since, count in _PATHS_BY_FORM.items() if since <= known)
    rules = _Rules((1 << bits) - 1, _TCP if known >= _NETWORK_FORM else 0, _SCOPES if known >= _SCOPE_FORM else 0)
    size = 8 * (1 + (known >= _NETWORK_FORM) + (known >= _SCOPE_FORM))
    ruleset = syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    done = syscall(_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)
