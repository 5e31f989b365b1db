"""
NVIDIA's GPUs, as their driver's library reports them; none without a driver or without the extra `cuda`.

A device is what one process may be given: a card, or an instance of a card that is divided (MIG).
"""

import ctypes
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"
OLD_INSTANCE = re.compile(r"MIG-GPU-[0-9a-fA-F-]+/\d+/\d+")
"""How drivers before R470 call an instance: card, GPU instance, compute instance."""


@dataclass(frozen=True, slots=True)
class Device:
    """
    A card or an instance.

    ``name`` is what CUDA_VISIBLE_DEVICES calls it, ``index`` its number among the cards, after which an instance has
    its own («0:1»); ``handle`` is the library's, None where it doesn't know the name.
    """

    name: str
    index: str
    handle: Any = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device's figures: memory in bytes, and the share of time in which it computed, in [0, 1]."""

    index: str
    used_bytes: int
    total_bytes: int
    utilisation: float

    @property
    def free_bytes(self) -> int:
        """Memory that nobody uses."""
        return self.total_bytes - self.used_bytes


def gpus(environ: Mapping[str, str]) -> list[Gpu]:
    """The figures of the devices that a process with *environ* sees. A figure that a device doesn't have is 0."""
    return [_figures(device) for device in devices(environ) if device.handle is not None]


def devices(environ: Mapping[str, str]) -> list[Device]:
    """
    The devices that a process with *environ* may compute on, as CUDA reads its CUDA_VISIBLE_DEVICES.

    Names are cards' numbers, or UUIDs or their beginnings; what comes after one that names nothing isn't visible. A
    card that is divided is its instances; if it has none, nobody can compute on it. None where nothing can be asked.
    """
    if not _driver():
        return []
    cards = list(_cards())
    listed = environ.get(VISIBLE)
    if listed is None:
        return [device for card in cards for device in _parts(card)]
    found: dict[str, Device] = {}
    for name in (part.strip() for part in listed.split(",")):
        named = _named(name, cards)
        if named is None:
            break
        found |= {device.name: device for device in named}
    return list(found.values())


def without_instances() -> list[str]:
    """The numbers of cards that are to be divided and aren't yet: nobody can compute on them."""
    return [card.index for card in _cards() if _is_divided(card) and not _parts(card)] if _driver() else []


def library_is_here() -> bool:
    """Whether the driver's library can be opened. Importing pynvml to hear that it can't takes a seventh of a start."""
    if sys.platform != "linux":
        return True  # pynvml knows where others keep it
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


@functools.cache
def _nvml() -> Any:
    """The module `pynvml`, which only the extra `cuda` brings; None without it."""
    try:
        return import_module("pynvml")
    except ImportError:
        return None


@functools.cache
def _driver() -> bool:
    """Whether there is a driver; it stays open as long as the process lives."""
    if not library_is_here() or _nvml() is None:
        return False
    try:
        _nvml().nvmlInit()
    except _nvml().NVMLError:
        return False
    return True


def _cards() -> Iterator[Device]:
    """The machine's cards; one that was lost, or that we may not use, isn't there."""
    for number in range(_asked(_nvml().nvmlDeviceGetCount) or 0):
        handle = _asked(_nvml().nvmlDeviceGetHandleByIndex, number)
        if handle is not None:
            yield Device(_asked(_nvml().nvmlDeviceGetUUID, handle) or str(number), str(number), handle)


def _named(name: str, cards: list[Device]) -> list[Device] | None:
    """The devices that *name* stands for; None: nothing is called that."""
    if name.isdigit():
        card = next((card for card in cards if card.index == str(int(name))), None)
        if card is None:
            return None
        # The number stays: CUDA may count cards in another order than the driver does.
        return _parts(card) if _is_divided(card) else [Device(name, card.index, card.handle)]
    if name.startswith("MIG-"):
        found = [part for card in cards for part in _instances(card) if part.name.startswith(name)]
        return found[:1] or ([Device(name, name)] if OLD_INSTANCE.fullmatch(name) else None)
    found = [card for card in cards if name.startswith("GPU-") and card.name.startswith(name)]
    return _parts(found[0]) if len(found) == 1 else None


def _parts(card: Device) -> list[Device]:
    return _instances(card) if _is_divided(card) else [card]


def _is_divided(card: Device) -> bool:
    mode = _asked(_nvml().nvmlDeviceGetMigMode, card.handle)
    return bool(mode) and mode[0] == _nvml().NVML_DEVICE_MIG_ENABLE


def _instances(card: Device) -> list[Device]:
    found = []
    for number in range(_asked(_nvml().nvmlDeviceGetMaxMigDeviceCount, card.handle) or 0):
        handle = _asked(_nvml().nvmlDeviceGetMigDeviceHandleByIndex, card.handle, number)  # there are gaps
        name = None if handle is None else _asked(_nvml().nvmlDeviceGetUUID, handle)
        if name:
            found.append(Device(name, f"{card.index}:{number}", handle))
    return found


def _figures(device: Device) -> Gpu:
    memory = _asked(_nvml().nvmlDeviceGetMemoryInfo, device.handle)
    load = _asked(_nvml().nvmlDeviceGetUtilizationRates, device.handle)
    return Gpu(
        index=device.index,
        used_bytes=int(memory.used) if memory else 0,
        total_bytes=int(memory.total) if memory else 0,
        utilisation=load.gpu / 100 if load else 0.0,
    )


def _asked(question: Callable[..., Any], *given: Any) -> Any:
    """What the library says; None where it has no answer."""
    with suppress(_nvml().NVMLError):
        return question(*given)
    return None
