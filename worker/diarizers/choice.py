"""Which diarizer this worker has: chosen at the start, loaded when it is first needed."""

import threading
from pathlib import Path

from demo import SPEAKER_NETWORK
from transcription.errors import ModelUnavailable
from transcription.lanes import SPEAKERS
from transcription.settings import Settings
from worker.diarizers.base import Diarizer
from worker.diarizers.embedding import EmbeddingDiarizer, name_of

OFF = "off"


class ChosenDiarizer:
    """
    The diarizer that the settings name; its ``name`` is known before it is loaded.

    `demo`, or the path of a speaker-embedding network in ONNX. `auto` is `demo` beside the demo model, else none: a toy
    never answers for real people by itself.
    """

    def __init__(self, settings: Settings) -> None:
        """Find the network. ModelUnavailable: there is none where the settings say."""
        self._path, self._called = _network(settings)
        self._threshold = settings.worker.diarizer_threshold
        self.name = name_of(self._path, self._called) if self._path else ""
        if self._path and self._threshold:
            self.name += f",{self._threshold:g}"  # it changes what is found
        self._loaded: Diarizer | None = None
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """What its computations name as their model; empty without a diarizer."""
        return SPEAKERS + self.name if self.name else ""

    def get(self) -> Diarizer:
        """The diarizer, loaded. ModelUnavailable."""
        with self._lock:
            if self._loaded is None:
                if self._path is None:
                    raise ModelUnavailable("this worker can't diarize (MURMUR_WORKER__DIARIZER)")
                threshold = self._threshold or None
                self._loaded = EmbeddingDiarizer(self._path, name=self._called, threshold=threshold)
            return self._loaded


def _network(settings: Settings) -> tuple[Path | None, str]:
    wanted = settings.worker.diarizer
    if wanted == "auto":
        wanted = "demo" if settings.model == "demo" else OFF
    if wanted == OFF:
        return None, ""
    if wanted == "demo":
        return SPEAKER_NETWORK, "demo"
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise ModelUnavailable(f"there is no speaker network at {path} (MURMUR_WORKER__DIARIZER)")
    return path, path.stem
