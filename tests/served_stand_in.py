"""The process of `worker.engines.torch.device.served` with a model that can be told what to do, and no torch."""

import os
import sys
import threading
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from transcription.errors import ModelUnavailable, Stopped
from worker.engines.torch.asked import Facts, Generated
from worker.engines.torch.device import served


class Thing:
    """Whatever has attributes."""

    def __init__(self, **those: Any) -> None:
        self.__dict__ |= those


FACTS = Facts("cpu", "float32", mels=80, multilingual=True, start=50258, slots=4, batch=4, callers=3)
ERRORS = {
    "stopped": Stopped("closed"),
    "memory": RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "index": IndexError("row 7"),
}


class Model:
    """Adds samples up, and says what is kept of it."""

    n_mels = FACTS.mels

    def __init__(self) -> None:
        self._alive: WeakSet[Any] = WeakSet()

    def sound(self, samples: Any) -> Any:
        sound = Thing(total=float(np.sum(samples, dtype=np.float64)), size=len(samples))
        self._alive.add(sound)
        return sound

    def encode(self, passes: list[tuple[Any, int]]) -> list[Any]:
        if any(start < 0 for _, start in passes):
            raise ERRORS["memory"]
        made = [Thing(total=sound.total, size=sound.size, start=start) for sound, start in passes]
        self._alive.update(made)
        return made

    def generate(self, encoded: list[Any], asked: list[Any]) -> list[Generated]:
        for one in asked:
            if one in ERRORS:
                raise ERRORS[one]
            if one == "die":
                os._exit(9)
            if one == "wait":
                threading.Event().wait(600)
        return [Generated([[one.size, one.start]], [one.total], 0.0) for one in encoded]

    def works(self) -> bool:
        return True

    def figures(self) -> dict[int, dict[str, float]]:
        """How many sounds and encodings there are, whoever keeps them."""
        return {1: {"alive": len(self._alive)}}


def load(name: str, directory: Path, *_: Any, **how: Any) -> tuple[Model, Facts]:
    if name == "none":
        raise ModelUnavailable("there is no such model")
    if name == "broken":
        raise OSError("the disk is gone")
    if name == "endless":
        (directory / "begun").touch()
        threading.Event().wait(600)
    if name == "deadly":
        os._exit(6)
    assert how == {"kept": 5}
    return Model(), FACTS


if __name__ == "__main__":
    sys.modules["worker.engines.torch.device.loading"] = Thing(load=load)  # type: ignore[assignment]
    served.main()
