"""Steps on the device: captured once for each size, then replayed; and what of them comes back to the host."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from worker.engines.torch.device.captured import Captures
from worker.engines.torch.device.host import place_for, sent
from worker.engines.torch.device.slots import Slots, Written


class Steps:
    """
    Runs the steps of *slots*. A GPU is always one step ahead of what the host has read, so that it never waits.

    On a GPU a size's first step is run as it is and then captured; all others are one launch each.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._on_gpu = slots.done.is_cuda
        self._graphs: dict[tuple[int, int, bool], torch.cuda.CUDAGraph] = {}
        self._captures = Captures("step")
        self._flags = deque([place_for(slots.done) for _ in range(3)])
        self._read: deque[tuple[Tensor, Callable[[], None], int]] = deque()
        self._fresh: dict[int, int] = {}
        self._number = 0
        self.waited_s = 0.0

    def placed(self, numbers: list[int]) -> None:
        """Slots have new rows: what was read of the steps before doesn't concern them."""
        for number in numbers:
            self._fresh[number] = self._number

    def run(self, rows: int, length: int, *, drawing: bool) -> None:
        """Run a step, and have it said afterwards who is done."""
        key = rows, length, drawing
        graph = self._graphs.get(key)
        if graph is not None:
            graph.replay()
        else:
            self._slots.step(rows, length, drawing=drawing)
            step = partial(self._slots.step, rows, length, drawing=drawing)
            if self._on_gpu and (taken := self._captures.take(step)):
                self._graphs[key] = taken[0]
        self._number += 1
        flags = self._flags.popleft()
        self._flags.append(flags)
        flags.copy_(self._slots.done, non_blocking=True)
        self._read.append((flags, self._event(), self._number))

    def ended(self) -> list[int]:
        """Slots that were done one step ago; on a CPU, which nobody is ahead of, those that are done now."""
        found: list[int] = []
        while len(self._read) > self._on_gpu:
            flags, wait, step = self._read.popleft()
            start = time.perf_counter()
            wait()
            self.waited_s += time.perf_counter() - start
            found = [number for number in flags.nonzero()[:, 0].tolist() if self._fresh.get(number, 0) < step]
        return found

    def read(self) -> Callable[[int], Written]:
        """What was written in the slots up to now; the function waits for it and gives one slot's."""
        read = sent(self._slots.best_tokens, self._slots.figures)

        def one(number: int) -> Written:
            tokens, figures = read(number)
            length, score, no_speech = figures.tolist()
            return Written(tokens[: int(length)].tolist(), score, no_speech)

        return one

    def _event(self) -> Callable[[], None]:
        if not self._on_gpu:
            return _at_once
        event = torch.cuda.Event()
        event.record()
        wait: Callable[[], None] = event.synchronize
        return wait


def _at_once() -> None:
    return
