"""OpenVINO's encoder: on CPUs with VNNI, BF16 or AMX a multiple of CTranslate2's speed, from the same weights."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import numpy as np
import openvino as ov

from worker.engines import model_bin
from worker.engines.encoders import openvino_graph
from worker.engines.encoders.compiled import published
from worker.engines.encoders.openvino_graph import encoder_graph
from worker.engines.model_bin import ModelBin
from worker.engines.row import Floats

FRAMES = 3000
"""A whole window. Its graph has a fixed length, which is some 4 % faster than any length."""

GRAPH = "encoder.blob"


@once
def _core() -> ov.Core:
    """
    The one of this process, which is never let go.

    OpenVINO's CPU plugin gives the thread that makes it a stack to handle signals on, and frees it with the last core.
    Python's handlers run on that stack: the next SIGTERM would end the process by a fault.
    """
    return ov.Core()


@dataclass(frozen=True, slots=True)
class Plan:
    """How the encoder is computed: arithmetic (`int8`, `bf16` or `f32`), windows at once, threads of each."""

    precision: str
    streams: int
    threads: int

    def properties(self, width: int) -> dict[str, str | int | bool]:
        """What OpenVINO is told; *width* is the encoder's."""
        return {
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams * self.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision != "f32" and has_bf16() else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": width if self.precision == "int8" else 0,
            "ENABLE_CPU_PINNING": False,
        }


class OpenVinoEncoder:
    """A compiled encoder, with a request for each thread that calls it."""

    def __init__(self, directory: Path, plan: Plan, cache: Path) -> None:
        """
        Compile the encoder of the model in *directory*, or load what an earlier start has compiled.

        Args:
            directory: Holds a CTranslate2 Whisper model.
            plan: Arithmetic and threads.
            cache: Directory for compiled encoders; processes that start at once share the work.

        Raises:
            ModelUnavailable: *directory* holds no Whisper model.
            OSError: *cache* can't be written.
            RuntimeError: OpenVINO can't compute it here.
        """
        self.label = f"OpenVINO {plan.precision}"
        self._directory, self._plan = directory, plan
        identity = repr((ov.get_version(), processor(), plan, code()))
        self.decoder = published(directory, cache, identity, lambda draft: self._write(draft / GRAPH))
        """A directory with the model less its encoder, for CTranslate2 to load: no weights are held twice."""
        self._whole = self._read(self.decoder / GRAPH)
        self._any_length: ov.CompiledModel | None = None
        self._lock = threading.Lock()
        self._requests = threading.local()

    def encode(self, features: Floats) -> Floats:
        """Encode windows one by one: see `worker.engines.encoders.base.Encoder`."""
        request = self._request(whole=features.shape[-1] == FRAMES)
        encoded = [request.infer([window[np.newaxis]])[0].copy() for window in np.ascontiguousarray(features)]
        return np.concatenate(encoded)

    def _request(self, *, whole: bool) -> ov.InferRequest:
        """This thread's own request."""
        requests: dict[bool, ov.InferRequest] = self._requests.__dict__.setdefault("made", {})
        if whole not in requests:
            requests[whole] = (self._whole if whole else self._for_any_length()).create_infer_request()
        return requests[whole]

    def _for_any_length(self) -> ov.CompiledModel:
        with self._lock:
            if self._any_length is None:
                self._any_length = self._compile(frames=None)
            return self._any_length

    def _write(self, path: Path) -> None:
        path.write_bytes(self._compile(frames=FRAMES).export_model().getbuffer())

    def _read(self, path: Path) -> ov.CompiledModel:
        with contextlib.suppress(RuntimeError):  # damaged: it is made anew
            return _core().import_model(path.read_bytes(), "CPU", self._properties())
        self._write(path)
        return _core().import_model(path.read_bytes(), "CPU", self._properties())

    def _compile(self, *, frames: int | None) -> ov.CompiledModel:
        weights = ModelBin(self._directory / "model.bin")
        graph = encoder_graph(weights, int8=self._plan.precision == "int8", frames=frames)
        return _core().compile_model(graph, "CPU", self._properties())

    def _properties(self) -> dict[str, str | int | bool]:
        weights = ModelBin(self._directory / "model.bin")
        return self._plan.properties(len(weights.raw("encoder/layer_norm/gamma")))


def code() -> str:
    """What makes the graph of a model: another version of it may mend what an earlier one has compiled."""
    read = (Path(str(module.__file__)).read_bytes() for module in (model_bin, openvino_graph))
    return hashlib.blake2b(b"".join(read), digest_size=8).hexdigest()


def processor() -> str:
    """This processor's name and what it can do, as OpenVINO sees it."""
    core = _core()
    able = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}: {' '.join(able)}"


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 by itself (AVX512-BF16 or AMX)."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
