"""Functions of tensors as one launch each: captured for every set of shapes, then replayed."""

from collections.abc import Callable, Sequence
from inspect import ismethod
from typing import Any
from weakref import WeakMethod

import structlog
import torch
from torch import Tensor

Function = Callable[..., Sequence[Tensor]]

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
        self._name, self._device = function.__qualname__, device
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor], Sequence[Tensor]]] = {}
        self._pool: Any = None
        self._capturable = True

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
            if self._capturable:
                graph, outputs = captured(lambda: function(*inputs), self._pool, name=self._name)
                if graph is None:
                    self._capturable = False
                else:
                    self._graphs[key] = graph, inputs, outputs
                    self._pool = self._pool or graph.pool()
            return made
        graph, inputs, outputs = known
        for place, each in zip(inputs, given, strict=True):
            place.copy_(each, non_blocking=True)
        graph.replay()
        return outputs


def captured(function: Callable[[], Any], pool: Any, *, name: str) -> tuple[torch.cuda.CUDAGraph | None, Any]:
    """
    Take down what *function* launches on this thread's stream, without computing it.

    Args:
        pool: The memory that graphs of the caller's share; None: memory of its own.
        name: What a log is to call it.

    Returns:
        The graph, None where it can't be captured, which is logged: it is only slower then. And what *function* gave.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.current_stream().synchronize()
    try:
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            made = function()
        finally:
            graph.capture_end()
    except RuntimeError as error:
        log.warning("not captured", function=name, error=str(error)[:300])
        return None, None
    return graph, made


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
