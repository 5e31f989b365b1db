"""Which engine a worker computes with."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from transcription.errors import ModelUnavailable
from transcription.observability.cores import available
from transcription.settings import Settings
from worker.engines import faster_whisper
from worker.engines.base import Engine
from worker.engines.cpu_layout import LEAST_SLOTS, layout, slots

MLX = "mlx_whisper"

Locate = Callable[[str, Settings], Path]
Factory = Callable[[str, Settings], Engine]


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, where and how it computes, and spans to have in work; known before any model is loaded."""

    engine: str
    device: str
    compute_type: str
    slots: int
    layout: str = ""


def choose(settings: Settings) -> Choice:
    """The engine that *settings* name; for `auto` MLX where Metal and its package are, else faster-whisper."""
    engine = settings.worker.engine
    if engine == "auto":
        engine = MLX if _has_metal() and find_spec("mlx") else faster_whisper.NAME
    if engine == faster_whisper.NAME:
        device, compute_type = faster_whisper.arithmetic(settings)
        plan = layout(settings.worker, device=device, cores=available())
        description = faster_whisper.describe(plan, device)
        return Choice(engine, device, compute_type, slots(settings.worker, plan), description)
    device = settings.device
    compute_type = settings.compute_type
    if engine == MLX:
        device = "metal" if _has_metal() and device == "auto" else "cpu"
        compute_type = {"metal": "float16", "cpu": "float32"}[device] if compute_type == "auto" else compute_type
    return Choice(engine, "cpu" if device == "auto" else device, compute_type, settings.worker.slots or LEAST_SLOTS)


def load(name: str, settings: Settings, *, locate: Locate) -> Engine:
    """
    Load the model *name* into the engine that *settings* choose.

    Args:
        name: What clients and results call the model.
        settings: `worker.engine` names the engine, or as `package.module:factory` a function of *name* and *settings*
            that returns one.
        locate: Finds the directory that faster-whisper loads; other engines have models of their own form.

    Raises:
        ModelUnavailable: no such engine, or it can't load the model.
    """
    engine = choose(settings).engine
    if engine == faster_whisper.NAME:
        return faster_whisper.load(name, locate(name, settings), settings)
    return _factory("worker.engines.mlx.engine:open_model" if engine == MLX else engine)(name, settings)


def _factory(path: str) -> Factory:
    module, _, attribute = path.partition(":")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelUnavailable(f"the engine {path!r} can't be had here: {error} (MURMUR_WORKER__ENGINE)") from error
    return factory


def _has_metal() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"
