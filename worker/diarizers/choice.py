"""Which diarizer this worker has: chosen at the start, loaded when it is first needed."""

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from demo import SPEAKER_NETWORK
from transcription.errors import ModelUnavailable
from transcription.lanes import SPEAKERS
from transcription.settings import Settings
from worker.diarizers.base import Diarizer, RecordingDiarizer
from worker.diarizers.embedding import EmbeddingDiarizer, name_of
from worker.diarizers.networks.published import located

OFF = "off"
PYANNOTE, SHERPA = "pyannote", "sherpa"
COMMUNITY = "pyannote/speaker-diarization-community-1"
ALIKE = 0.5
"""Cosine distance up to which two voices are one speaker's, for engines that have no word of their own on it."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A diarizer before it is loaded; no name, no diarizer."""

    name: str = ""
    load: Callable[[str], Diarizer | RecordingDiarizer] | None = None


class ChosenDiarizer:
    """
    The diarizer that the settings name; its ``name`` is known before it is loaded.

    `demo`, a speaker-embedding network in ONNX by its path or its published name, `pyannote`, or `sherpa`. `auto` is
    `demo` beside the demo model, else none: a toy never answers for real people by itself.
    """

    def __init__(self, settings: Settings) -> None:
        """Find it. ModelUnavailable: there is none where the settings say."""
        self._choice = _chosen(settings)
        threshold = settings.worker.diarizer_threshold
        # A threshold changes what is found.
        self.name = f"{self._choice.name},{threshold:g}" if self._choice.name and threshold else self._choice.name
        self._loaded: Diarizer | RecordingDiarizer | None = None
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """What its computations name as their model; empty without a diarizer."""
        return SPEAKERS + self.name if self.name else ""

    def get(self) -> Diarizer | RecordingDiarizer:
        """The diarizer, loaded. ModelUnavailable."""
        with self._lock:
            if self._loaded is None:
                if self._choice.load is None:
                    raise ModelUnavailable("this worker can't diarize (MURMUR_WORKER__DIARIZER)")
                self._loaded = self._choice.load(self.name)
            return self._loaded


def is_path(text: str) -> bool:
    """Whether it says where files lie, and isn't a name under which they are published."""
    return "/" in text or text.startswith(("~", "."))


def _chosen(settings: Settings) -> _Choice:
    wanted = settings.worker.diarizer
    if wanted == "auto":
        wanted = "demo" if settings.model == "demo" else OFF
    if wanted == OFF:
        return _Choice()
    if wanted == "demo":
        return _embedding(SPEAKER_NETWORK, "demo", settings)
    engine, _, source = wanted.partition(":")
    if engine == PYANNOTE:
        return _pyannote(source or COMMUNITY, settings)
    if engine == SHERPA:
        return _sherpa(Path(source).expanduser(), settings)
    path = Path(wanted).expanduser()
    if path.is_file():
        return _embedding(path, path.stem, settings)
    if is_path(wanted):
        raise ModelUnavailable(f"there is no speaker network at {path} (MURMUR_WORKER__DIARIZER)")
    return _embedding(located(wanted, cache=settings.model_dir), wanted.removesuffix(".onnx"), settings)


def _embedding(path: Path, called: str, settings: Settings) -> _Choice:
    threshold = settings.worker.diarizer_threshold or None
    return _Choice(name_of(path, called), lambda _: EmbeddingDiarizer(path, name=called, threshold=threshold))


def _pyannote(source: str, settings: Settings) -> _Choice:
    release = _release("pyannote.audio", PYANNOTE)
    directory = Path(source).expanduser()
    what = _digest(sorted(directory.rglob("*"))) if directory.is_dir() else source

    def load(name: str) -> RecordingDiarizer:
        engine = import_module("worker.diarizers.pyannote")
        loaded: RecordingDiarizer = engine.PyannoteDiarizer(
            str(directory) if directory.is_dir() else source,
            name=name,
            device=settings.device,
            cache=settings.model_dir,
            threshold=settings.worker.diarizer_threshold or ALIKE,
        )
        return loaded

    return _Choice(f"{PYANNOTE}-{release}@{what}", load)


def _sherpa(directory: Path, settings: Settings) -> _Choice:
    release = _release("sherpa-onnx", SHERPA)
    engine = import_module("worker.diarizers.sherpa")
    models = [directory / engine.SEGMENTATION, directory / engine.EMBEDDING]
    missing = [model.name for model in models if not model.is_file()]
    if missing:
        raise ModelUnavailable(f"{directory} has no {' and no '.join(missing)} (MURMUR_WORKER__DIARIZER)")

    def load(name: str) -> RecordingDiarizer:
        loaded: RecordingDiarizer = engine.SherpaDiarizer(
            directory,
            name=name,
            threads=settings.worker.threads,
            threshold=settings.worker.diarizer_threshold or ALIKE,
        )
        return loaded

    return _Choice(f"{SHERPA}-{release}@{_digest(models)}", load)


def _release(package: str, extra: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise ModelUnavailable(
            f"{package} isn't installed: .venv/bin/python -m pip install --require-hashes --no-deps "
            f"-r requirements/{extra}.txt (MURMUR_WORKER__DIARIZER)"
        ) from None


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
