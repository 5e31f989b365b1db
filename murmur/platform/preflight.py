"""What can be known to be wrong before anything is started."""

import difflib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from murmur.errors import CliError
from murmur.platform.environment import absolute
from transcription.models import CHECKPOINTS
from transcription.observability import gpus
from transcription.settings import Settings

SAFETENSORS = "model.safetensors", "model.safetensors.index.json"


def check_port(host: str, port: int) -> None:
    """Raise CliError when nobody could listen there, or nobody would know where."""
    if port == 0:
        raise CliError("port 0 is any that is free, and nobody would find the API there; choose one with --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As uvicorn does: a connection of an earlier run that is closing is no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(f"port {port} on {host} is taken by another program; choose another with --port") from error
        raise CliError(f"can't listen on {host} port {port}: {error.strerror or error}") from error


def model_name(model: str, *, engine: str = "auto") -> str:
    """
    Check what `--model` says.

    Args:
        model: As it was given.
        engine: The worker's; torch reads Hugging Face's directories too.

    Returns:
        The model as every process understands it: a directory from the root, or a name.

    Raises:
        CliError: no such directory, no model in it, or no such name.
    """
    if model in ("auto", "demo", *CHECKPOINTS):
        return model
    path = absolute(Path(model))
    if path.is_dir():
        if (path / "model.bin").is_file():
            return str(path)
        of_torch = any((path / name).is_file() for name in SAFETENSORS)
        if of_torch and engine == "torch":
            return str(path)
        hint = "; MURMUR_WORKER__ENGINE=torch reads what is there" if of_torch else ""
        raise CliError(f"{path} holds no model: model.bin, as faster-whisper wants it, isn't there{hint}")
    if os.sep in model:
        raise CliError(f"there is no model directory {path}")
    near = difflib.get_close_matches(model, CHECKPOINTS, n=1)
    meant = f"did you mean {near[0]}? There are" if near else "there are"
    raise CliError(
        f"there is no model {model!r}; {meant} auto, demo, tiny, base, small, medium, large-v3, turbo, "
        "more by `murmur models list`, and any directory"
    )


def gpu_names(settings: Settings, say: Callable[[str], None]) -> tuple[str, ...]:
    """
    The cards and instances that workers are to compute on, as CUDA_VISIBLE_DEVICES names them.

    Args:
        settings: None where they name another device than a GPU.
        say: Takes a sentence for each card that nobody can compute on.
    """
    if settings.device not in {"auto", "cuda"}:
        return ()
    for index in gpus.without_instances():
        say(f"GPU {index} is in MIG mode and has no instances: no worker can use it (nvidia-smi mig -cgi … -C)")
    return tuple(device.name for device in gpus.devices(os.environ))
