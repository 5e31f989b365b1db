"""The models that can be asked for, and the names they go by."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from transcription.decoding import Task
from transcription.errors import InvalidOption, ModelNotServed

REPOSITORIES = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""Where faster-whisper fetches each from; its own table can't be read without loading the ML libraries."""
CHECKPOINTS = list(REPOSITORIES)
# What hosted services call their models: here they stand for the platform's own.
HOSTED_NAMES = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
)
PUBLISHED_NAMES = (*CHECKPOINTS, *HOSTED_NAMES, *[f"whisper-{name}" for name in CHECKPOINTS])
_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
_FORMAT = re.compile(r"-(ct2|mlx|ggml|gguf|onnx)$")
_TURBO = ("large-v3-turbo", "turbo")
_LISTED, _NEAREST = 12, 6
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
    for spelling in _spellings(name):
        for known in (spelling, aliases.get(spelling, spelling)):
            if known in served:
                return known
    raise ModelNotServed(f"model {str(requested)[:200]!r} isn't served here; served: {_few({*served, *aliases}, name)}")


def is_english_only(name: str) -> bool:
    """Whether *name* is that of a model that knows English alone: `base.en`, `Systran/faster-whisper-base.en`."""
    return any(spelling.endswith(".en") for spelling in _spellings(name))


def require_english(
    name: str, *, task: Task = Task.TRANSCRIBE, language: str | None = None, languages: Collection[str] = ()
) -> None:
    """
    Refuse what a model that knows English alone can't do.

    Args:
        name: The model's.
        task: What it is to write.
        language: ISO 639-1 code; None or empty: to be detected.
        languages: Those that may be spoken; none: any.

    Raises:
        InvalidOption: *task* is to translate, or English isn't what is or may be spoken.
    """
    can = f"model {name!r} transcribes English and nothing else; ask for another model (GET /v1/models)"
    if task is not Task.TRANSCRIBE:
        raise InvalidOption(f"task: {task.value}: {can}")
    if language and language != "en":
        raise InvalidOption(f"language: {language}: {can}")
    if languages and "en" not in languages:
        raise InvalidOption(f"languages: {', '.join(languages)}: {can}")


def _spellings(name: str) -> Iterator[str]:
    """
    What is meant by *name*, as it stands first: without its owner on a hub, the date of a hosted model, and the words
    for a format of weights. `Systran/faster-whisper-small` and `mlx-community/whisper-small-mlx` are `small`.
    """
    yield name
    bare = _DATE.sub("", name.rpartition("/")[2] if name.count("/") == 1 and not name.startswith(("/", ".")) else name)
    yield bare
    bare = _FORMAT.sub("", bare.lower().removeprefix("faster-").replace("distil-whisper-", "distil-"))
    yield bare
    size = bare.removeprefix("whisper-")
    yield size
    if size in _TURBO:
        yield from _TURBO


def _few(names: Collection[str], wanted: str) -> str:
    """Some of many *names*: all where they are few, else those that look most like what was *wanted*."""
    if len(names) <= _LISTED:
        return ", ".join(sorted(names))
    nearest = difflib.get_close_matches(wanted, names, n=_NEAREST, cutoff=0.0)
    return f"{', '.join(nearest)} and {len(names) - len(nearest)} more names (GET /v1/models)"
