"""The one thread of a process that MLX works on."""

import atexit
import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar

import mlx.core as mx

Given = ParamSpec("Given")
Made = TypeVar("Made")

GOODBYE_S = 5.0


class OwnerThread:
    """
    Does one call after the other, whoever asks for them.

    MLX's streams, its compiled functions and its random state belong to the thread that made them, and its cache of
    buffers is freed safely only by the thread that fills it: so every array is made, used and dropped here.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlx", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def call(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """
        Do *work* on the thread and wait for what it returns. It must return no arrays of MLX's.

        Raises:
            RuntimeError: MLX failed; «out of memory» leads the message when that was it.
        """
        future: Future[Made] = Future()
        self._calls.put((partial(work, *args, **kwargs), future))
        try:
            return future.result()
        except RuntimeError as error:
            if "alloc" in str(error):
                raise RuntimeError(f"out of memory: {error}") from error
            raise

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  it's the caller's
                traceback.clear_frames(error.__traceback__)  # there are arrays among their variables
                future.set_exception(error)
            del call, work, future
        # A stream that outlives its thread aborts the process on its way out.
        mx.clear_streams()

    def _end(self) -> None:
        self._calls.put(None)
        self._thread.join(GOODBYE_S)


@cache
def owner() -> OwnerThread:
    """The process's own; all its models share it, as they share the device."""
    return OwnerThread()
