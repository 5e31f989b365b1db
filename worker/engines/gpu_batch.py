"""How many windows a CUDA GPU decodes together. Written from the driver's documentation; not run on a GPU yet."""

import ctypes

LEAST = 8
MOST = 32
WINDOWS_PER_MODEL = 3
"""A window's caches (five beams, keys and values of every decoder layer) take about a third of the weights."""


def batch(weights_bytes: int, device: int = 0) -> int:
    """
    Choose a batch for a model of *weights_bytes* from what the GPU has free once it is loaded.

    Returns:
        8 to 32. Too many for the memory after all, and the batcher halves it.
    """
    free = free_bytes(device)
    if free is None:
        return LEAST
    return max(LEAST, min(MOST, free * WINDOWS_PER_MODEL // max(1, weights_bytes) // 2))


def free_bytes(device: int = 0) -> int | None:
    """Memory that is free on a GPU, asked of the driver; None: there is no driver, or it won't say."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    context = ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        status = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        return None if status else free.value
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
