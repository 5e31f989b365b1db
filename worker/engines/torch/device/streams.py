"""Streams of one's own: torch gives out 32 in turn and then the first again, whoever still works on it."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_free: defaultdict[torch.device, list[Any]] = defaultdict(list)


@contextmanager
def own_stream(device: torch.device) -> Iterator[Any]:
    """
    Have the thread's work on a GPU go to a stream that nobody else in this process uses meanwhile; it is given.

    What one thread captures, and what another launches on the same stream at that time, would go into one graph.
    On a CPU there are no streams: None.
    """
    if device.type != "cuda":
        yield None
        return
    streams = _free[device]
    stream = streams.pop() if streams else torch.cuda.Stream(device)
    try:
        with torch.cuda.stream(stream):
            yield stream
    finally:
        streams.append(stream)
