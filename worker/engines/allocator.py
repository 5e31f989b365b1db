"""The memory allocator: giving back to the system what has been freed."""

import ctypes
import gc

ALL_ARENAS = 4096
"""jemalloc's MALLCTL_ARENAS_ALL."""


def give_back_memory() -> None:
    """Return freed memory to the system. Allocators that are tuned for speed keep it otherwise."""
    gc.collect()
    process = ctypes.CDLL(None)
    if hasattr(process, "mallctl"):  # jemalloc, preloaded; glibc's own heap may still hold something
        process.mallctl(f"arena.{ALL_ARENAS}.purge".encode(), None, None, None, ctypes.c_size_t(0))
    if hasattr(process, "malloc_trim"):
        process.malloc_trim(ctypes.c_size_t(0))
