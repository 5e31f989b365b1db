"""Loading a model into the process that computes it: what can't be used, and why, in one sentence."""

import sys
from pathlib import Path

import torch
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from tokenizers import Tokenizer

from transcription.errors import ModelUnavailable
from transcription.observability.cores import available
from transcription.settings import Settings
from worker.engines.marks import marks_of
from worker.engines.torch.asked import Facts
from worker.engines.torch.device.files import NotWhisper
from worker.engines.torch.device.layout import layout
from worker.engines.torch.device.model import TorchModel
from worker.engines.torch.device.weights import DTYPES, read_network

SWITCH_S = 0.0001
"""For how long a thread keeps Python when another wants it, in place of Python's own 0.005."""


def load(
    name: str, directory: Path, settings: Settings, *, device: str, compute_type: str, kept: int
) -> tuple[TorchModel, Facts]:
    """
    Load the model in *directory*: CTranslate2's or Hugging Face's, with its `tokenizer.json`.

    Args:
        kept: So many encodings are kept that languages were told from.

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
        plan = layout(settings.worker, network, spans=kept)
        suppressed = _suppressed(tokenizer)
        model = TorchModel(network, tokenizer, compute_type=compute_type, slots=plan.slots, suppressed=suppressed)
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
    return model, Facts(
        device=device,
        compute_type=compute_type,
        mels=model.n_mels,
        multilingual=model.is_multilingual,
        start=model.start,
        slots=plan.slots,
        batch=plan.batch,
        callers=plan.callers,
    )


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
