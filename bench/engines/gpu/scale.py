"""What is measured, and how much of it: large's dimensions on a card, or little on a CPU (`GPU_BENCH=tiny`)."""

import os
import tempfile
from pathlib import Path

import demo
from bench.engines.gpu.record import OUT, say
from bench.engines.gpu.watch import seconds_of
from bench.speech.corpus import Clip, clips

TINY = os.environ.get("GPU_BENCH") == "tiny"
SIZES = tuple(os.environ.get("GPU_SIZES", "tiny" if TINY else "large turbo").split())
CHECKED = SIZES[0] if TINY else "tiny"
"""The size that card and CPU are compared with."""

DEVICE = "cpu" if TINY else "cuda"
COMPUTE_TYPE = "float32" if TINY else os.environ.get("GPU_TYPE", "float16")
WORK = Path(os.environ.get("GPU_WORK", tempfile.gettempdir())) / "murmur-gpu-bench"
CLIPS = int(os.environ.get("GPU_CLIPS", "4" if TINY else "768"))
CLIP_S = 10.0
LONG_S = 30.0 if TINY else 1800.0
FILE_S = 20.0 if TINY else 600.0
AT_ONCE = 2 if TINY else 128


def model(size: str) -> Path:
    """The demo model's directory, widened to *size*; `demo` is the model as it is."""
    return WORK / size


def recordings(count: int, seconds: float, seed: int = 1) -> list[Clip]:
    """Clips, the same ones for whoever asks."""
    return clips(WORK / "audio", count, seconds, seed=seed)


def prepare() -> None:
    """Write the models and the recordings."""
    WORK.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    for size in dict.fromkeys((CHECKED, *SIZES)):
        with seconds_of() as spent:
            demo.export_ct2(model(size), None if size == "demo" else size)  # type: ignore[arg-type]
        say(what="prepared", size=size, s=spent[0])
    recordings(CLIPS, CLIP_S)
    recordings(1, LONG_S, seed=2)
