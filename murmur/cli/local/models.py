"""Models on this machine: what is there, and how more come from the hub."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from rich.console import Console
from rich.status import Status

from murmur.errors import CliError
from transcription.models import CHECKPOINTS
from transcription.settings import Settings


def downloaded(settings: Settings) -> list[str]:
    """Repositories whose weights have been fetched, as the hub names them."""
    found = settings.model_dir.glob("models--*/snapshots/*/model.bin")
    return sorted({path.parents[2].name.removeprefix("models--").replace("--", "/") for path in found})


def download(name: str, settings: Settings, console: Console) -> Path:
    """
    Fetch a published model into the data directory, where the workers look for it.

    Args:
        name: One of CHECKPOINTS.
        settings: Say where the data directory is.
        console: Shows how much has come.

    Raises:
        CliError: no such name, no hub, or no room.
    """
    if name not in CHECKPOINTS:
        raise CliError(f"there is no model {name!r} on the hub; there are {', '.join(CHECKPOINTS)}")
    from faster_whisper import download_model  # noqa: PLC0415  an ML library, which a mere client doesn't have

    try:
        with console.status(f"Fetching {name}") as status, _show_progress(status, name, settings.model_dir):
            return Path(download_model(name, cache_dir=str(settings.model_dir)))
    except (httpx.HTTPError, ValueError, OSError) as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise CliError(
            f"the model {name} can't be fetched from the hub ({message[0]}); go online, name a directory, "
            "or take the built-in one with --model demo"
        ) from error


@contextmanager
def _show_progress(status: Status, name: str, directory: Path) -> Iterator[None]:
    """Say on *status* how much has been added to *directory*: the hub's client names no total beforehand."""
    before, done = _bytes(directory), threading.Event()

    def update() -> None:
        while not done.wait(0.5):
            status.update(f"Fetching {name} into {directory}: {(_bytes(directory) - before) / 1e6:.0f} MB so far")

    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bytes(directory: Path) -> int:
    total = 0
    for path in directory.glob("models--*/blobs/*"):
        with suppress(OSError):  # a file that is being moved to its place
            total += path.stat().st_size
    return total
