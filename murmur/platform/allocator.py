"""
What the workers' memory allocator is told.

CTranslate2's encoder on a CPU spends a third to half of its time in page faults when the allocator gives every freed
buffer back to the kernel, as glibc does by default. Keeping the memory makes the encoder about 1.6 times as fast.
"""

import platform
import sys
from collections.abc import Mapping

from transcription.observability.allocator import preloaded

GLIBC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "268435456",
    # Huge pages, from glibc 2.35 on; an older one ignores it.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def tunables(environ: Mapping[str, str], *, libc: str | None = None) -> dict[str, str]:
    """
    The variables that a worker on this machine should get besides *environ*.

    Args:
        environ: The variables that are set: they win, and a preloaded jemalloc needs none of ours.
        libc: The C library's name; by default the one that runs this.
    """
    if sys.platform != "linux" or preloaded(environ):
        return {}
    if (platform.libc_ver()[0] if libc is None else libc) != "glibc":
        return {}
    return {name: value for name, value in GLIBC.items() if name not in environ}


def describe(environ: Mapping[str, str]) -> str:
    """What a process with *environ* has, in a few words."""
    if name := preloaded(environ):
        return f"{name} (preloaded)"
    if all(name in environ for name in GLIBC):
        return "glibc, tuned to keep its memory"
    return "the system's, not tuned (tuned glibc makes the encoder about 1.6 times as fast)"
