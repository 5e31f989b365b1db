"""The models that can be asked for, and the names they go by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo import REVISION
from transcription.errors import ModelNotServed

CHECKPOINTS = [
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v1",
    "large-v2",
    "large-v3",
    "large",
    "large-v3-turbo",
    "turbo",
    "distil-small.en",
    "distil-medium.en",
    "distil-large-v2",
    "distil-large-v3",
    "distil-large-v3.5",
]
PUBLISHED_NAMES = (
    *CHECKPOINTS,
    *["whisper-1", "whisper-tiny", "whisper-base", "whisper-small", "whisper-medium", "whisper-large"],
    *["gpt-4o-transcribe", "gpt-4o-mini-transcribe"],
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that computes: its name and the revision of its weights; both enter every fingerprint."""

    name: str
    revision: str


def resolve(requested: str | None, *, default: str, served: Iterable[str], aliases: Mapping[str, str]) -> ModelRef:
    """
    Find the model that *requested* stands for.

    Args:
        requested: Name or alias from the client; None: *default*.
        default: The platform's own model.
        served: Every model that may be asked for by its name.
        aliases: Further names.

    Raises:
        ModelNotServed: nothing serves that name; the message lists what is served.
    """
    name = requested or default
    served = tuple(served)
    if name not in served:
        name = aliases.get(name, name)
    if name not in served:
        raise ModelNotServed(f"model {requested!r} isn't served here; served: {', '.join(sorted({*served, *aliases}))}")
    return ModelRef(name, revision(name))


def revision(name: str) -> str:
    """The revision of a model's weights: the demo model's own, a directory's newest change, else «main»."""
    if name == "demo":
        return REVISION
    weights = Path(name) / "model.bin"
    if weights.is_file():
        stat = weights.stat()
        return f"{stat.st_size:x}-{int(stat.st_mtime):x}"
    return "main"
