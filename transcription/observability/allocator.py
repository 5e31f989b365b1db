"""Which memory allocator this process was started with."""

from collections.abc import Mapping


def preloaded(environ: Mapping[str, str]) -> str:
    """The name of the allocator that *environ* preloads in place of the C library's; empty: none."""
    preload = environ.get("LD_PRELOAD", "") + environ.get("DYLD_INSERT_LIBRARIES", "")
    return next((name for name in ("jemalloc", "mimalloc", "tcmalloc") if name in preload), "")
