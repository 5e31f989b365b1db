"""The models that can be asked for, and the names they go by."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

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
# What hosted services call their models: here they stand for the platform's own.
HOSTED_NAMES = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
PUBLISHED_NAMES = (*CHECKPOINTS, *HOSTED_NAMES, *[f"whisper-{name}" for name in CHECKPOINTS])
_LARGEST_FIRST = ("large-v3", "large", "large-v2", "large-v1")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that computes: its name and the revision of its weights; both enter every fingerprint."""

    name: str
    revision: str


def implied_aliases(default: str, served: Collection[str]) -> dict[str, str]:
    """
    The names that need no setting.

    Hosted services' names stand for *default*, `whisper-small` for a served `small`, `large` for the newest one.
    """
    aliases = dict.fromkeys(HOSTED_NAMES, default) | {f"whisper-{name}": name for name in CHECKPOINTS if name in served}
    for name in _LARGEST_FIRST:
        if name in served:
            aliases |= {"large": name, "whisper-large": name}
            break
    return {alias: name for alias, name in aliases.items() if alias not in served}


def resolve(requested: str | None, *, default: str, served: Iterable[str], aliases: Mapping[str, str]) -> str:
    """
    Find the name of the model that *requested* stands for.

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
    return name
