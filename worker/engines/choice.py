"""Which engine a worker computes with."""

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transcription.errors import ModelUnavailable
from transcription.observability.cores import available
from transcription.settings import Settings
from worker.engines import faster_whisper, gpu
from worker.engines.base import Engine
from worker.engines.cpu_layout import LEAST_SLOTS, layout, slots
from worker.engines.gpu import arithmetic

MLX = "mlx_whisper"
TORCH = "torch"
CUDA_OF_TORCH = re.compile(r"^cuda\b.*= '(\d+)\.", re.MULTILINE)
LEAST_CAPABILITY = 8
"""Ampere's. Builds of torch leave older GPUs out one after another, while CTranslate2 still computes on them."""

TORCH_TYPES = frozenset({"float16", "bfloat16", "float32"})
TORCH_SLOTS = 128
"""Spans to have in work for torch on a GPU: those that are written down, and as many that are prepared meanwhile."""

Locate = Callable[[str, Settings], Path]
Factory = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, where and how it computes, and spans to have in work; known before any model is loaded."""

    engine: str
    device: str
    compute_type: str
    slots: int
    layout: str = ""


def choose(settings: Settings) -> Choice:
    """
    The engine that *settings* name.

    For `auto` MLX where Metal and its package are, torch on a GPU that the installed build of it can use, else
    faster-whisper.
    """
    engine = settings.worker.engine
    if engine == "auto":
        engine = _found(settings)
    if engine == TORCH:
        device, compute_type = arithmetic(settings)
        if settings.compute_type == "auto" and device == "cpu":
            compute_type = "float32"
        slots_ = settings.worker.slots or (TORCH_SLOTS if device == "cuda" else LEAST_SLOTS)
        return Choice(engine, device, compute_type, slots_, "windows join and leave between steps")
    if engine == faster_whisper.NAME:
        device, compute_type = arithmetic(settings, cublas=True)
        plan = layout(settings.worker, device=device, cores=available(sharers=settings.worker.host_workers))
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
    chosen = choose(settings)
    engine = chosen.engine
    if engine == faster_whisper.NAME:
        return faster_whisper.load(name, locate(name, settings), settings)
    if engine == TORCH:
        open_torch = _factory("worker.engines.torch.engine:load")
        with_torch: Engine = open_torch(
            name,
            locate(name, settings),
            settings,
            device=chosen.device,
            compute_type=chosen.compute_type,
            spans=chosen.slots,
        )
        return with_torch
    loaded: Engine = _factory("worker.engines.mlx.engine:open_model" if engine == MLX else engine)(name, settings)
    return loaded


def mlx_files(name: str, settings: Settings) -> Path | None:
    """Where the files of the model *name* lie on this host already in MLX's form; None: nowhere yet."""
    found: Path | None = _factory("worker.engines.mlx.engine:local")(name, settings)
    return found


def _factory(path: str) -> Factory:
    module, _, attribute = path.partition(":")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelUnavailable(f"the engine {path!r} can't be loaded: {error} (MURMUR_WORKER__ENGINE)") from error
    return factory


def _found(settings: Settings) -> str:
    if _has_metal() and find_spec("mlx"):
        return MLX
    if _torch_can_use_the_gpu():
        device, compute_type = arithmetic(settings)
        if device == "cuda" and compute_type in TORCH_TYPES:
            return TORCH
    return faster_whisper.NAME


def _torch_can_use_the_gpu() -> bool:
    """As far as can be told without importing it, which takes seconds."""
    found = find_spec("torch")
    files = [Path(place, "version.py") for place in (found and found.submodule_search_locations) or ()]
    built = CUDA_OF_TORCH.search("".join(file.read_text("utf-8") for file in files if file.is_file()))
    if not built or not find_spec("safetensors"):
        return False
    there = gpu.of_driver()
    return there is not None and there[0] >= int(built[1]) and there[1] >= LEAST_CAPABILITY


def _has_metal() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"
