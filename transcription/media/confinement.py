"""What a process gives up before it opens a hostile file, layer by layer; each is there where the kernel grants it."""

import os
import platform
import sys

from transcription.media import landlock, libc, seccomp

NEW_PRIVILEGES, MEMORY, LANDLOCK, SECCOMP = "no_new_privs", "not_dumpable", "landlock", "seccomp"
NETWORK = "network_namespace"
LAYERS = (NETWORK, NEW_PRIVILEGES, MEMORY, LANDLOCK, SECCOMP)
"""Every layer that there is on Linux; elsewhere there are limits only."""

granted: list[str] = []
"""The layers that this process has by now."""

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38


def prepare() -> None:
    """Find out and write, before a fork, what each child would have to by itself."""
    landlock.form()
    seccomp.program_for(platform.machine())


def leave_network() -> bool:
    """Leave the network behind, in a namespace of one's own; False where the system doesn't let us."""
    if sys.platform != "linux":
        return False
    alone = any(libc.unshare(how) == 0 for how in (_NEW_NET, _NEW_USER | _NEW_NET))
    if alone:
        granted.append(NETWORK)
    return alone


def give_up_files() -> None:
    """Give up, for good, new privileges, and every file and address that isn't open, as far as the kernel grants it."""
    if sys.platform != "linux":
        return
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        granted.append(NEW_PRIVILEGES)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
        granted.append(MEMORY)
    if landlock.restrict():
        granted.append(LANDLOCK)


def filter_calls() -> None:
    """Give up all system calls but those of computing: the last step, because the others need more."""
    if sys.platform == "linux" and seccomp.install():
        granted.append(SECCOMP)


def forget_environment() -> None:
    """Empty the environment."""
    for name in list(os.environ):
        del os.environ[name]
