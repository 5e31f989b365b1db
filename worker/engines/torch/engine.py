"""
torch as an engine: one NVIDIA GPU, or the CPU for tests.

Its model, which lives in a process of its own, stands where CTranslate2's would: prompts, temperatures, thresholds,
segments and the timing of words are those of the faster-whisper engine.
"""

from functools import partial
from pathlib import Path

from faster_whisper import WhisperModel

from transcription.media.audio import Samples
from transcription.settings import Settings
from worker.engines.cpu_layout import CpuLayout
from worker.engines.encoders.kept import REMEMBERED
from worker.engines.faster_whisper import FasterWhisper
from worker.engines.torch.process import ModelProcess, Sound
from worker.engines.torch.stages import TorchStages


class TorchEngine(FasterWhisper):
    """faster-whisper's engine over torch: what the device still has in work when it is closed isn't waited for."""

    def close(self) -> None:
        """End the model's process, and then the batcher, whose calls end with it."""
        self._whisper.model.stop()
        super().close()


class TorchWhisper(WhisperModel):  # type: ignore[misc]
    """faster-whisper's own code over a model in torch."""

    def __init__(self, model: ModelProcess) -> None:
        """Take the place of the original's, which loads a CTranslate2 model."""
        self.model = model
        self.hf_tokenizer = model.hf_tokenizer
        self.input_stride = 2
        self.frames_per_second = 100
        self.tokens_per_second = 50
        self.time_precision = 0.02
        self.max_length = 448

    def feature_extractor(self, samples: Samples) -> Sound:
        """Features are made on the device, of many windows at once."""
        return Sound(self.model, samples)


def load(
    name: str, directory: Path, settings: Settings, *, device: str, compute_type: str, spans: int
) -> FasterWhisper:
    """
    Load the model in *directory*: CTranslate2's or Hugging Face's, with its `tokenizer.json`.

    Args:
        spans: So many are in work at once, each of which may have its language told first.

    Raises:
        ModelUnavailable: the directory holds no such model, or this machine can't compute it that way.
    """
    kept = max(REMEMBERED, spans)
    model = ModelProcess(name, directory, settings, device=device, compute_type=compute_type, kept=kept)
    layers = CpuLayout(workers=model.facts.callers, threads=1, batch=model.facts.batch)
    return TorchEngine(name, TorchWhisper(model), layers, stages=partial(TorchStages, kept=kept))
