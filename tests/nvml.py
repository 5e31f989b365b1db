"""NVIDIA's management library without a GPU: what pynvml calls in it, answered for cards that a test makes up."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml
import pytest

from transcription.observability import gpus

GONE = pynvml.NVML_ERROR_GPU_IS_LOST
NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
NOT_FOUND = pynvml.NVML_ERROR_NOT_FOUND


@dataclass(frozen=True)
class Card:
    """A card, or an instance of one; None for what its driver doesn't tell. ``instances``: None where it has no MIG."""

    uuid: str
    used_bytes: int | None = 1 << 30
    total_bytes: int = 80 << 30
    busy: int | None = 35
    instances: "tuple[Card | None, ...] | None" = None
    """None among them: a gap, as they are left where instances were taken away."""

    error: int = 0
    """What asking for the card comes to."""


class Nvml:
    """The library's functions, by their names in C; each takes what ctypes hands over and returns its status."""

    def __init__(self, cards: tuple[Card, ...], *, status: int = 0) -> None:
        """*status*: what initialising the library comes to."""
        self._cards, self._status = cards, status
        parts = [part for card in cards for part in card.instances or () if part]
        self._known = {number + 1: card for number, card in enumerate([*cards, *parts])}

    def __call__(self, name: str) -> Callable[..., int]:
        """The function called *name*; whoever asks for another one finds out that the test is incomplete."""
        found: Callable[..., int] = getattr(self, name)
        return found

    def nvmlInitWithFlags(self, _: int) -> int:  # noqa: N802
        return self._status

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self._cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: N802
        return self._give(self._cards[index.value], handle)

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, _: Any) -> int:  # noqa: N802
        text.value = self._of(handle).uuid.encode()
        return 0

    def nvmlDeviceGetMigMode(self, handle: Any, now: Any, pending: Any) -> int:  # noqa: N802
        instances = self._of(handle).instances
        if instances is None:
            return int(NOT_SUPPORTED)
        now._obj.value = pending._obj.value = pynvml.NVML_DEVICE_MIG_ENABLE
        return 0

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, count: Any) -> int:  # noqa: N802
        count._obj.value = 7 if self._of(handle).instances is not None else 0
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, part: Any) -> int:  # noqa: N802
        instances = self._of(handle).instances or ()
        found = instances[index.value] if index.value < len(instances) else None
        return int(NOT_FOUND) if found is None else self._give(found, part)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: N802
        card = self._of(handle)
        if card.used_bytes is None:
            return int(NOT_SUPPORTED)
        memory._obj.used, memory._obj.total = card.used_bytes, card.total_bytes
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:  # noqa: N802
        card = self._of(handle)
        if card.busy is None:
            return int(NOT_SUPPORTED)
        rates._obj.gpu = card.busy
        return 0

    def _of(self, handle: Any) -> Card:
        return self._known[ctypes.cast(handle, ctypes.c_void_p).value or 0]

    def _give(self, card: Card, handle: Any) -> int:
        if card.error:
            return card.error
        number = next(number for number, known in self._known.items() if known is card)
        ctypes.memmove(ctypes.byref(handle._obj), ctypes.byref(ctypes.c_void_p(number)), ctypes.sizeof(ctypes.c_void_p))
        return 0


@contextmanager
def machine_with(*cards: Card, status: int = 0) -> Iterator[None]:
    """Have pynvml find *cards*."""
    gpus._driver.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gpus, "library_is_here", lambda: True)
            patch.setattr(pynvml, "_LoadNvmlLibrary", lambda: None)
            patch.setattr(pynvml, "_nvmlGetFunctionPointer", Nvml(cards, status=status))
            yield
    finally:
        gpus._driver.cache_clear()
