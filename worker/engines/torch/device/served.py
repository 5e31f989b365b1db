"""
The process that a model in torch lives in: requests come in, and go to the model in a thread for each caller.

It ends with its connection, so that nothing of it is left however its worker ends.
"""

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from transcription.errors import ModelUnavailable, Stopped
from transcription.observability.logs import configure
from transcription.settings import Settings
from worker.engines.torch.asked import Facts
from worker.engines.torch.messages import receive, send

log = structlog.get_logger("worker.torch")


CALLERS = 256
"""More than a worker has threads that ask for something."""

GROUP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What a terminal sends to all of its processes: it is for the worker, which ends this one in its own time."""


class Served:
    """A model, whose sounds and encodings are called by numbers."""

    def __init__(self) -> None:
        """Serve none before `load` is asked for."""
        self._model: Any = None
        self._kept: dict[int, Any] = {}

    def drop(self, numbers: Sequence[int]) -> None:
        """Let go what nobody wants any more."""
        for number in numbers:
            self._kept.pop(number, None)

    def do(self, method: str, given: Sequence[Any]) -> Any:
        """Load a model, or have it do *method*; the encodings that it takes are given first, as numbers."""
        if method == "load":
            return self._load(*given)
        if method == "encode":
            return self._encode(*given)
        if given:
            numbers, *more = given
            given = [self._kept[number] for number in numbers], *more
        return getattr(self._model, method)(*given)

    def _load(self, name: str, directory: Path, settings: Settings, how: dict[str, Any]) -> Facts:
        configure(level=settings.log_level, style=settings.log_format, service="worker")
        try:
            from worker.engines.torch.device.loading import load  # noqa: PLC0415  torch takes seconds, and may be missing
        except ImportError as error:
            raise ModelUnavailable(f"the engine in torch can't be loaded: {error} (MURMUR_WORKER__ENGINE)") from error
        self._model, facts = load(name, directory, settings, **how)
        gc.collect()
        gc.freeze()  # torch's objects stay: looking through them would hold the device up for a tenth of a second
        return facts

    def _encode(self, passes: Sequence[tuple[int, Any, int, int]]) -> None:
        """Encode passes: of each the sound's number, its samples if they are new, where it begins, its own number."""
        for number, samples, *_ in passes:
            if number not in self._kept:
                self._kept[number] = self._model.sound(samples)
        made = self._model.encode([(self._kept[number], start) for number, _, start, _ in passes])
        self._kept.update(zip((number for *_, number in passes), made, strict=True))


def main() -> None:
    """Answer requests until nobody can ask any more, whatever is in work then."""
    for number in GROUP:
        signal.signal(number, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        _serve(socket.socket(fileno=os.dup(0)))
    os._exit(0)


def _serve(connection: socket.socket) -> None:
    served, sending = Served(), threading.Lock()

    def answer(number: int, method: str, given: Sequence[Any]) -> None:
        value, error = _tried(served.do, method, given)
        with sending, suppress(OSError):  # who asked may be gone
            send(connection, (number, value, error))

    pool = ThreadPoolExecutor(CALLERS, thread_name_prefix="caller")
    asked = connection.makefile("rb")
    while True:
        number, method, given, dropped = receive(asked)
        served.drop(dropped)
        pool.submit(answer, number, method, given)


def _tried(work: Callable[..., Any], *given: Any) -> tuple[Any, Exception | None]:
    """What *work* gives, or an error that can be sent."""
    try:
        return work(*given), None
    except (ModelUnavailable, Stopped) as error:
        return None, type(error)(error.message)
    except Exception as error:  # whoever asked is to hear of it, and this process to live on
        said = str(error) if isinstance(error, RuntimeError) else repr(error)
        if "out of memory" not in said.lower():  # which is for the batcher to mend
            log.warning("the model failed", exc_info=error)
        return None, RuntimeError(said)


if __name__ == "__main__":
    main()
