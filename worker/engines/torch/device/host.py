"""What the device's threads send to the host: copied while the device goes on, and let go where that harms nothing."""

import weakref
from collections import defaultdict, deque
from typing import Any, Protocol

import torch
from torch import Tensor

_left: defaultdict[int, deque[tuple[Tensor, ...]]] = defaultdict(deque)
"""What has been read, by the stream that wrote it."""


class Read(Protocol):
    """Waits for what was sent, in any thread, and gives copies; of the first dimension's entry *at* alone, if told."""

    def __call__(self, at: int | None = None) -> list[Tensor]:
        """Wait and copy."""


def sent(*tensors: Tensor) -> Read:
    """
    Send *tensors* to the host; call it on the device's thread, and never while that captures.

    The memory that they are sent to is pinned. When such memory is let go, torch notes (2.13: an event) how far the
    stream is that used it last, even while that captures; the note is part of the graph then, and whoever next asks for
    pinned memory stumbles over it: «CUDA error: invalid argument». So it isn't let go by whoever has read it, in a
    thread that doesn't know what the stream is doing, but here, when the next tensors are sent.
    """
    on_gpu = tensors[0].is_cuda
    left = _left[torch.cuda.current_stream(tensors[0].device).cuda_stream if on_gpu else 0]
    left.clear()
    places = tuple(place_for(tensor) for tensor in tensors)
    for place, tensor in zip(places, tensors, strict=True):
        place.copy_(tensor.contiguous(), non_blocking=True)
    event: Any = None
    if on_gpu:
        event = torch.cuda.Event(blocking=True)  # or whoever waits keeps a core busy, and many do
        event.record()

    def read(at: int | None = None) -> list[Tensor]:
        if event:
            event.synchronize()
        return [(place if at is None else place[at]).clone() for place in places]

    weakref.finalize(read, left.append, places).atexit = False
    return read


def place_for(tensor: Tensor) -> Tensor:
    """Memory on the host, pinned if *tensor* is on a GPU, that has room for it."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
