"""Which encoder a model is computed with: what the settings name, else what a short measurement finds fastest."""

import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
import structlog

from transcription.errors import ModelUnavailable
from transcription.observability.allocator import preloaded
from transcription.settings import Settings
from worker.engines.cpu_layout import CpuLayout
from worker.engines.encoders.base import Encoder
from worker.engines.encoders.compiled import digest
from worker.engines.encoders.ctranslate2 import CTranslate2Encoder
from worker.engines.model_bin import ModelBin

CTRANSLATE2, OPENVINO = "ctranslate2", "openvino"
ROUNDS = 3
LEAST_GAIN = 1.1
"""By how much another encoder must be faster than CTranslate2's to be taken: a measurement errs by a few percent."""

AUTO_PRECISIONS = ("int8", "bf16")
"""Tried by `auto`, on processors with BF16; their word errors are in bench/README.md."""

log = structlog.get_logger("worker.encoder")


class Selected(NamedTuple):
    """
    What a model is encoded with.

    ``encoder`` is None where it is the one that CTranslate2 brings. ``directory`` is the one that CTranslate2 is to
    load: with another library's encoder it has no encoder's weights. ``reason`` says why, for operators.
    """

    encoder: Encoder | None
    directory: Path
    reason: str


def select(directory: Path, settings: Settings, plan: CpuLayout, *, device: str) -> Selected:
    """
    Choose the encoder of the model in *directory*.

    Raises:
        ModelUnavailable: the settings name an encoder that can't be had here.
    """
    wanted = settings.worker.encoder
    precision: str = settings.worker.encoder_precision
    if reason := _bound(settings, device):
        return Selected(None, directory, reason)
    if reason := _missing():
        if wanted == OPENVINO:
            raise ModelUnavailable(f"MURMUR_WORKER__ENCODER=openvino can't be had here: {reason}")
        return Selected(None, directory, reason)
    cache = settings.data_dir / "encoders"
    reason = "by the settings"
    try:
        if wanted != OPENVINO or precision == "auto":
            precision, reason = _fastest(directory, cache, plan, precision, forced=wanted == OPENVINO)
        encoder = _openvino(directory, cache, plan, precision) if precision else None
    except (OSError, RuntimeError, ModelUnavailable) as error:
        if wanted == OPENVINO:
            raise ModelUnavailable(f"OpenVINO can't encode {directory}: {error}") from error
        log.warning("encoder", taken=CTRANSLATE2, reason=str(error))
        return Selected(None, directory, f"OpenVINO failed: {error}")
    return Selected(encoder, encoder.decoder if encoder else directory, reason)


def _bound(settings: Settings, device: str) -> str:
    """Why there is nothing to choose; empty: there is."""
    if device != "cpu":
        return f"on {device}"
    if settings.worker.encoder == CTRANSLATE2:
        return "by the settings"
    exact = settings.compute_type in {"float32", "float16"}
    return f"MURMUR_COMPUTE_TYPE={settings.compute_type}" if exact else ""


def _missing() -> str:
    """Why OpenVINO can't be used in this process; empty: it can."""
    if find_spec("openvino") is None:
        return "OpenVINO isn't installed"
    # Seen with jemalloc: OpenVINO's CPU plugin aborts the process with "free(): invalid pointer".
    name = preloaded(os.environ)
    return f"OpenVINO crashes beside a preloaded {name} (unset LD_PRELOAD)" if name else ""


def _openvino(directory: Path, cache: Path, plan: CpuLayout, precision: str) -> Any:
    from worker.engines.encoders.openvino import OpenVinoEncoder, Plan  # noqa: PLC0415  an optional library

    # One more than replicas: the batcher keeps a thread for light rows.
    return OpenVinoEncoder(directory, Plan(precision, plan.workers + 1, plan.threads), cache)


def _fastest(directory: Path, cache: Path, plan: CpuLayout, precision: str, *, forced: bool) -> tuple[str, str]:
    """The precision to take OpenVINO with, empty: CTranslate2 is as fast; and why. Measured once, then remembered."""
    from worker.engines.encoders.openvino import has_bf16, processor  # noqa: PLC0415  an optional library

    tried = AUTO_PRECISIONS if precision == "auto" else (precision,)
    if not has_bf16() and not forced:
        return "", "this processor has no BF16"
    note = (
        cache / f"{digest(directory, repr((processor(), ctranslate2.__version__, plan.threads, tried, forced)))}.json"
    )
    try:
        return _explained(json.loads(note.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    spent = {tried_one: _seconds(_openvino(directory, cache, plan, tried_one).encode, directory) for tried_one in tried}
    best = min(spent, key=lambda name: spent[name])
    own = 0.0
    if not forced:
        model = ctranslate2.models.Whisper(str(directory), compute_type="int8", intra_threads=plan.threads)
        own = _seconds(CTranslate2Encoder(model).encode, directory)
        del model
        if own < spent[best] * LEAST_GAIN:
            best = ""
    log.info(
        "encoder measured", taken=best or CTRANSLATE2, ctranslate2_s=own, **{f"{k}_s": v for k, v in spent.items()}
    )
    measured = {"precision": best, "ctranslate2_s": own, "openvino_s": spent}
    cache.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(measured), encoding="utf-8")
    return _explained(measured)


def _explained(measured: dict[str, Any]) -> tuple[str, str]:
    best, own, spent = str(measured["precision"]), float(measured["ctranslate2_s"]), measured["openvino_s"]
    if not own:
        return best, "the fastest of OpenVINO's, by measurement"
    gain = own / float(min(spent.values()))
    return best, f"measured: OpenVINO is {gain:.1f} × as fast as CTranslate2"


def _seconds(encode: Callable[[Any], Any], directory: Path) -> float:
    """The least CPU time (not wall: the machine may be busy) that a window takes, after one that isn't counted."""
    mels = ModelBin(directory / "model.bin").raw("encoder/conv1/weight").shape[1]
    window = np.random.default_rng(0).normal(size=(1, mels, 3000)).astype(np.float32)
    times = []
    for _ in range(ROUNDS + 1):
        began = time.process_time()
        encode(window)
        times.append(time.process_time() - began)
    return round(min(times[1:]), 4)
