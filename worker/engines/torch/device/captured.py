"""Functions of tensors as one launch each: captured for every set of shapes, then replayed."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import ismethod
from typing import Any, TypeVar
from weakref import WeakMethod

import structlog
import torch
from torch import Tensor

Function = Callable[..., Sequence[Tensor]]
Made = TypeVar("Made")

FAILURES, PAUSE_S = 5, 60.0

_failed: list[torch.cuda.CUDAGraph] = []
"""Never let go: torch's memory of the host goes on asking them whether they capture, and can't be told otherwise."""

log = structlog.get_logger("worker.torch")


class Captured:
    """
    A function of tensors on a GPU, which is run as it is for the first inputs of some shapes and captured for all that
    follow: hundreds of launches become one, and the threads that compete for Python with the caller don't slow it.

    On a CPU it is the function. What it returns is the caller's until its next call with the same shapes.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        """
        Call *function* with tensors on *device* only, and always on the same thread and stream.

        A method's object isn't kept by it, which keeps it: what is let go is gone at once, and not when Python next
        looks for circles, in whatever thread, perhaps while another captures.
        """
        self._function = WeakMethod(function) if ismethod(function) else lambda: function
        self._device, self._captures = device, Captures(function.__qualname__)
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor], Sequence[Tensor]]] = {}

    def __call__(self, *given: Tensor) -> Sequence[Tensor]:
        """Compute; *given* may lie on the host, pinned."""
        function = self._function()
        assert function is not None  # noqa: S101  whose method it is calls it
        if self._device.type != "cuda":
            return function(*given)
        key = tuple((each.shape, each.dtype) for each in given)
        known = self._graphs.get(key)
        if known is None:
            inputs = [each.to(self._device, copy=True) for each in given]
            made = function(*inputs)
            if taken := self._captures.take(lambda: function(*inputs)):
                self._graphs[key] = taken[0], inputs, taken[1]
            return made
        graph, inputs, outputs = known
        for place, each in zip(inputs, given, strict=True):
            place.copy_(each, non_blocking=True)
        graph.replay()
        return outputs


class Captures:
    """
    Captures into one memory. After one that fails none is tried for a minute, and after the fifth in a row never again:
    all is only slower then.
    """

    def __init__(self, name: str) -> None:
        """*name* is what a log calls the function; nothing is asked of the device yet."""
        self._name = name
        self._pool: Any = None
        self._failures, self._again = 0, -math.inf

    def take(self, function: Callable[[], Made]) -> tuple[torch.cuda.CUDAGraph, Made] | None:
        """The graph of *function*, and what that gave: see `captured`; None: it can't be captured now."""
        if self._failures >= FAILURES or time.monotonic() < self._again:
            return None
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            taken = captured(function, self._pool)
        except RuntimeError as error:
            self._failures, self._again = self._failures + 1, time.monotonic() + PAUSE_S
            self._pool = None  # torch's memory of the host still counts it as being captured into
            log.warning("not captured", function=self._name, failures=self._failures, error=str(error)[:300])
            return None
        self._failures = 0
        return taken


def captured(function: Callable[[], Made], pool: Any) -> tuple[torch.cuda.CUDAGraph, Made]:
    """
    Take down what *function* launches on this thread's stream, without computing it.

    Args:
        pool: The memory that graphs share, by `torch.cuda.graph_pool_handle`; after an error take another.

    Returns:
        The graph, and what *function* gave.

    Raises:
        RuntimeError: it can't be captured.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.current_stream().synchronize()
    try:
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            made = function()
        finally:
            graph.capture_end()
    except BaseException:
        _end(graph, pool)
        raise
    return graph, made


def _end(graph: torch.cuda.CUDAGraph, pool: Any) -> None:
    """
    Do what torch 2.13 leaves undone when a capture fails: until then it takes the capture for under way, and wouldn't
    give back what it keeps when memory is short.
    """
    _failed.append(graph)
    with suppress(RuntimeError):
        graph.reset()
    with suppress(AttributeError, RuntimeError):  # not in this version, or not under way
        device = torch.cuda.current_device()
        torch._C._cuda_endAllocateToPool(device, pool)  # noqa: SLF001
        torch._C._cuda_releasePool(device, pool)  # noqa: SLF001


def fitting(sizes: Sequence[int], needed: int) -> int:
    """The least of *sizes* that is enough, or the last."""
    return next((size for size in sizes if size >= needed), sizes[-1])


def filled(sizes: Sequence[int], there: int) -> int:
    """The most of *sizes*, which begin with 1, that as many as are *there* fill: so nothing is computed in vain."""
    return max(size for size in sizes if size <= max(there, 1))


def pinned(values: Any, dtype: torch.dtype, *, device: torch.device) -> Tensor:
    """Numbers on the host, where a copy to *device* needn't wait for anything."""
    tensor = torch.tensor(values, dtype=dtype)
    return tensor.pin_memory() if device.type == "cuda" else tensor
