"""
torch as an engine: one NVIDIA GPU, or the CPU for tests.

Its model stands where CTranslate2's would: prompts, temperatures, thresholds, segments and the timing of words are
those of the faster-whisper engine.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from tokenizers import Tokenizer

from transcription.errors import ModelUnavailable
from transcription.media.audio import Samples
from transcription.observability.cores import available
from transcription.settings import Settings
from worker.engines.cpu_layout import CpuLayout
from worker.engines.encoders.kept import REMEMBERED
from worker.engines.faster_whisper import FasterWhisper
from worker.engines.torch.files import NotWhisper
from worker.engines.torch.layout import layout
from worker.engines.torch.mel import Sound
from worker.engines.torch.model import TorchModel, marks_of
from worker.engines.torch.stages import TorchStages
from worker.engines.torch.weights import DTYPES, read_network

SWITCH_S = 0.0001
"""For how long a thread keeps Python when another wants it, in place of Python's own 0.005."""


class TorchEngine(FasterWhisper):
    """faster-whisper's engine over torch: what the device still has in work when it is closed isn't waited for."""

    def close(self) -> None:
        """Stop the device's thread, the batcher and the model."""
        self._whisper.model.stop()
        super().close()


class TorchWhisper(WhisperModel):  # type: ignore[misc]
    """faster-whisper's own code over a model in torch."""

    def __init__(self, model: TorchModel) -> None:
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
        return Sound(samples, self.model.n_mels)


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
    _check(device, compute_type)
    if not (directory / "tokenizer.json").is_file():
        raise ModelUnavailable(f"{directory} has no tokenizer.json; fetch it beside the weights")
    if device == "cpu":
        torch.set_num_threads(available(sharers=settings.worker.host_workers))
    else:
        # The thread that feeds the device asks for Python between launches; others may not keep it for long.
        sys.setswitchinterval(SWITCH_S)
    try:
        network = read_network(directory, device=device, compute_type=compute_type)
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        marks_of(tokenizer, network.vocabulary)  # before anything else is asked of a tokenizer that may be another's
        kept = max(REMEMBERED, spans)
        plan = layout(settings.worker, network, spans=kept)
        model = TorchModel(
            network, tokenizer, compute_type=compute_type, slots=plan.slots, suppressed=_suppressed(tokenizer)
        )
    except NotWhisper as error:
        raise ModelUnavailable(f"model {name!r} can't be loaded: {error}") from error
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info()
        raise ModelUnavailable(
            f"model {name!r} doesn't fit: the GPU has {free >> 20} of {total >> 20} MiB free; end what else uses it"
        ) from error
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(f"model {name!r} in {directory} can't be loaded on {device}: {said[0]}") from error
    layers = CpuLayout(workers=plan.callers, threads=1, batch=plan.batch)
    return TorchEngine(name, TorchWhisper(model), layers, stages=partial(TorchStages, kept=kept))


def _check(device: str, compute_type: str) -> None:
    if compute_type not in DTYPES:
        raise ModelUnavailable(
            f"torch doesn't compute in {compute_type!r} here; take {', '.join(DTYPES)} (MURMUR_COMPUTE_TYPE)"
        )
    if device != "cuda":
        return
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        said = str(error).strip().splitlines() or ["no reason given"]
        raise ModelUnavailable(f"torch can't use the GPU: {said[0]}") from error
    if compute_type == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        raise ModelUnavailable(f"{torch.cuda.get_device_name()} has no bfloat16; take float16 (MURMUR_COMPUTE_TYPE)")


def _suppressed(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that are never written; they don't depend on the language."""
    multilingual = tokenizer.get_vocab_size() >= 51865
    whisper = WhisperTokenizer(tokenizer, multilingual, task="transcribe", language="en")
    return tuple(get_suppressed_tokens(whisper, [-1]))
