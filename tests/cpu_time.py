"""What a process of tests is told so that it spends no CPU time on nothing: page faults, and threads that wait."""

import ctypes
import os
import platform

from murmur.platform.local import ONE_THREAD

# The numbers are those of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MOST, _PAD = 2**31 - 1, 64 << 20


def spare() -> None:
    """
    Compute with one thread, and keep freed memory, as a platform's workers do.

    A window's log-mel takes a fifth of the time: OpenBLAS's threads wait in a loop, and glibc gives the memory of every
    large array back to the kernel. Threads are made when numpy is imported: with the plugins of `make test` that is
    later, with every one that can be found it is before.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    if platform.libc_ver()[0] == "glibc":
        for option, value in ((_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, _MOST), (_M_TOP_PAD, _PAD)):
            ctypes.CDLL(None).mallopt(option, value)
