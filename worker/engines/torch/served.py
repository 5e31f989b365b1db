"""
The process that a model in torch lives in: requests come in, and go to the model in a thread for each caller.

It ends with its connection, so that nothing of it is left however its worker ends.
"""

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
from worker.engines.torch.messages import receive, send

log = structlog.get_logger("worker.torch")


class Served:
    """A model, whose sounds and encodings are called by numbers."""

    def __init__(self, model: Any) -> None:
        """Serve *model*, a `TorchModel`."""
        self._model = model
        self._kept: dict[int, Any] = {}

    def drop(self, numbers: Sequence[int]) -> None:
        """Let go what nobody wants any more."""
        for number in numbers:
            self._kept.pop(number, None)

    def do(self, method: str, given: Sequence[Any]) -> Any:
        """Have the model do *method*; the encodings that it takes are given first, as numbers."""
        if method == "encode":
            return self._encode(*given)
        if given:
            numbers, *more = given
            given = [self._kept[number] for number in numbers], *more
        return getattr(self._model, method)(*given)

    def _encode(self, passes: Sequence[tuple[int, Any, int, int]]) -> None:
        """Encode passes: of each the sound's number, its samples if they are new, where it begins, its own number."""
        for number, samples, *_ in passes:
            if number not in self._kept:
                self._kept[number] = self._model.sound(samples)
        made = self._model.encode([(self._kept[number], start) for number, _, start, _ in passes])
        self._kept.update(zip((number for *_, number in passes), made, strict=True))


def main() -> None:
    """Load the model that the first request tells of, and answer requests until nobody can ask any more."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # they are for the worker, which ends this process in its own time
        signal.signal(stop, signal.SIG_IGN)
    connection = socket.socket(fileno=os.dup(0))
    with suppress(EOFError, OSError):
        _serve(connection, threading.Lock())
    os._exit(0)


def _serve(connection: socket.socket, sending: Any) -> None:
    number, _, given, _ = receive(connection)
    loaded, error = _tried(_load, *given)
    model, facts = loaded or (None, None)
    send(connection, (number, facts, error))
    if not facts:
        return
    served = Served(model)

    def answer(number: int, method: str, given: Sequence[Any]) -> None:
        value, error = _tried(served.do, method, given)
        with sending, suppress(OSError):  # who asked may be gone
            send(connection, (number, value, error))

    pool = ThreadPoolExecutor(facts.callers + 1, thread_name_prefix="caller")  # at the end nobody waits for it
    while True:
        number, method, given, dropped = receive(connection)
        served.drop(dropped)
        pool.submit(answer, number, method, given)


def _load(name: str, directory: Path, settings: Settings, how: dict[str, Any]) -> Any:
    configure(level=settings.log_level, style=settings.log_format, service="worker")
    try:
        from worker.engines.torch.loading import load  # noqa: PLC0415  torch, which takes seconds and may be missing
    except ImportError as error:
        raise ModelUnavailable(f"the engine in torch can't be loaded: {error} (MURMUR_WORKER__ENGINE)") from error
    return load(name, directory, settings, **how)


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
