"""A GPU as CTranslate2 uses it: whether and in which type, how many windows together, and why it can't."""

import ctypes
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ctranslate2
import structlog

from transcription.observability import gpus
from transcription.settings import Settings
from worker.engines.model_bin import ModelBin

UNKNOWN = 8
"""Windows where the driver doesn't tell what is free. Too many after all, and the batcher halves them."""

MOST = 32
POSITIONS = 1650
"""
Positions of the decoder's keys and values that one window takes, everything else of its batch included: on an H200 the
worker held 4.4 GB before batches, 17.5 with 48 windows in them and 21.7 with 64, large's dimensions in float16, five
beams; that is 0.27 GB for each. The sound alone has 1,500 positions.
"""

CUBLAS = "libcublas.so.12"
"""What CTranslate2 opens by this name, and not before it first computes on a GPU."""

CAPABILITY_MAJOR = 75
"""`CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` in cuda.h."""

SHARE = 0.8
"""Of the free memory, for windows: other programs may want some too."""

log = structlog.get_logger()


def arithmetic(settings: Settings, *, cublas: bool = False) -> tuple[str, str]:
    """
    The device to compute on and the type to compute in, as far as *settings* leave them open.

    Args:
        settings: Their `device` and `compute_type` win.
        cublas: Whether the engine is CTranslate2's, which on a GPU needs cuBLAS: without it `auto` is the CPU.
    """
    device: str = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        if device == "cpu":
            _warn_of_idle_gpus()
    if cublas and device == "cuda" and not _has_cublas() and settings.device == "auto":
        device = "cpu"
        _warn_of_missing_cublas()
    if settings.compute_type != "auto":
        return device, settings.compute_type
    return device, _type_of_gpu() if device == "cuda" else "int8"


@cache
def _has_cublas() -> bool:
    """
    Whether CTranslate2 will find cuBLAS.

    It is opened here first: NVIDIA's package puts it where no loader looks, and what is open is found by its name.
    """
    found = find_spec("nvidia")
    packages = (found and found.submodule_search_locations) or ()
    for library in (CUBLAS, *(str(Path(package, "cublas", "lib", CUBLAS)) for package in packages)):
        with suppress(OSError):
            ctypes.CDLL(library)
            return True
    return False


@cache
def _warn_of_missing_cublas() -> None:
    """Say once that there are GPUs, and what is missing to use them."""
    log.warning(
        "CTranslate2 sees a GPU and computes on the CPU, because a library can't be opened: install "
        "requirements/cuda.txt (docs/deployment.md, A GPU without containers); MURMUR_DEVICE=cpu if that is meant",
        library=CUBLAS,
    )


def _type_of_gpu() -> str:
    """float16, but for cards from before 2016, which are slow with it or lack it."""
    try:
        supported = ctranslate2.get_supported_compute_types("cuda")
    except (RuntimeError, ValueError):
        return "float16"  # loading a model says what is wrong
    return "float16" if "float16" in supported else "float32"


@cache
def _warn_of_idle_gpus() -> None:
    """Say once that there are GPUs and that they aren't used."""
    if idle := [device.index for device in gpus.devices(os.environ)]:
        log.warning(
            "CTranslate2 sees no GPU and computes on the CPU, though there is one: is its driver too old for CUDA 12?",
            gpus=idle,
        )


def reason(error: Exception, directory: Path, device: str) -> str:
    """Why the model in *directory* can't be loaded, in one sentence, and what to do where that is known."""
    said = " ".join(str(error).split()) or type(error).__name__
    if "out of memory" in said.lower():
        seen = gpus.gpus(os.environ)[:1] if device == "cuda" else []
        free = "".join(f": the GPU has {g.free_bytes >> 20} of {g.total_bytes >> 20} MiB free" for g in seen)
        return f"doesn't fit{free}; end what else uses the device's memory"
    if "driver version is insufficient" in said:
        return f"can't be loaded: the GPU's driver is too old for CTranslate2, update it ({said})"
    return f"in {directory} can't be loaded on {device}: {said}"


def row_bytes_of(weights: ModelBin, compute_type: str) -> int:
    """Memory that one window takes while the model in *weights* decodes it in *compute_type*."""
    layers = {found[1] for name in weights.names() if (found := re.match(r"decoder/layer_(\d+)/", name))}
    width = int(weights.raw("decoder/embeddings/weight").shape[1])
    size = 2 if compute_type.endswith("float16") else 4
    return 2 * len(layers) * width * size * POSITIONS


def batch_of(row: int, *, replicas: int = 1, device: int = 0) -> int:
    """
    Choose a batch from what the GPU has free once the model is loaded.

    Args:
        row: Bytes that one window takes: see `row_bytes_of`.
        replicas: Batches that are decoded at the same time.
        device: The GPU's number.

    Returns:
        1 to 32.
    """
    free = free_bytes(device)
    if free is None:
        return UNKNOWN
    return max(1, min(MOST, int(free * SHARE) // max(1, row * replicas)))


def of_driver() -> tuple[int, int] | None:
    """
    CUDA's version that the driver speaks, and the first GPU's compute capability; of both the major number.

    None: there is no driver or no GPU, or it won't say.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version, capability, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if (
        driver.cuInit(0)
        or driver.cuDriverGetVersion(ctypes.byref(version))
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetAttribute(ctypes.byref(capability), CAPABILITY_MAJOR, device)
    ):
        return None
    return version.value // 1000, capability.value


def free_bytes(device: int = 0) -> int | None:
    """Memory that is free on a GPU, asked of the driver; None: there is no driver, or it won't say."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    status = _asked(lambda driver: driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), device)
    return None if status is None or status else free.value


def works(device: int = 0) -> bool:
    """
    Whether a GPU still computes for this process; waits for what it has in work.

    After some errors (an illegal memory access, memory that can't be corrected, a card that fell off its bus) it
    computes only for new ones. Nobody may ask while a thread captures what the GPU is to do.
    """
    return not _asked(lambda driver: driver.cuCtxSynchronize(), device)


def _asked(ask: Callable[[Any], int], device: int) -> int | None:
    """What *ask* gives of the driver in this process's context: 0 for success; None: there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    context = ctypes.c_void_p()
    status: int = driver.cuInit(0) or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    if status:
        return status
    try:
        status = driver.cuCtxPushCurrent_v2(context)
        if not status:
            status = ask(driver)
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        return status
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
