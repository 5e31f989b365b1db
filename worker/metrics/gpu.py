"""NVIDIA's GPUs, as their driver's library reports them; none without a driver or without the extra `cuda`."""

import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

try:
    import pynvml
except ImportError:  # only where there may be a GPU: the extra `cuda`
    pynvml = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: memory in bytes, and the share of time in which it computed, in [0, 1]."""

    index: str
    used_bytes: int
    total_bytes: int
    utilisation: float


def gpus() -> list[Gpu]:
    """The machine's GPUs; none when they can't be asked. A figure that a GPU doesn't have is 0."""
    if not _driver():
        return []
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


@functools.cache
def _driver() -> bool:
    """Whether there is a driver; it stays open as long as the process lives."""
    if pynvml is None:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, handle)
    load = _asked(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return Gpu(
        index=str(index),
        used_bytes=int(memory.used) if memory else 0,
        total_bytes=int(memory.total) if memory else 0,
        utilisation=load.gpu / 100 if load else 0.0,
    )


def _asked(question: Callable[[Any], Any], handle: object) -> Any:
    with suppress(pynvml.NVMLError):
        return question(handle)
    return None
