"""Judging files that nobody has looked at yet, in a process that may die of them."""

from pathlib import Path
from typing import Any

from transcription import tracks
from transcription.encryption.files import file_encryption
from transcription.media.findings import AudioStream, Probe, Sample
from transcription.media.sandbox import Sandbox
from transcription.settings import Settings

_FUNCTION = "transcription.media.codecs.probe:probe_descriptor"
_MEMORY_BYTES = 1 << 30
_CPU_S = 20.0
_PATIENCE_S = 30.0


class Prober:
    """Probes files, each in a process of its own: there is no other way to look into one. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._encryption = file_encryption(settings)
        self._max_duration_s = settings.limits.max_duration_s
        self._sandbox = Sandbox(_FUNCTION, memory_bytes=_MEMORY_BYTES, confined=settings.security.sandbox)

    def start(self) -> None:
        """Make the first probe as quick as the others."""
        self._sandbox.start()

    def close(self) -> None:
        """End the sandbox."""
        self._sandbox.close()

    def listen(self, path: Path, *, limit_s: float) -> Sample:
        """Decode a file of *limit_s* at most to its end: see `codecs.probe.listen`. DecoderFailed: it took too long."""
        return Sample(**self._run(path, max_duration_s=limit_s, whole=True))

    def _run(self, path: Path, **keywords: Any) -> dict[str, Any]:
        with path.open("rb") as file:
            found: dict[str, Any] = self._sandbox.run(
                [file.fileno()],
                cpu_s=_CPU_S,
                silence_s=_PATIENCE_S,
                key=self._encryption.hex_key_of(file.fileno()),
                **keywords,
            )
        return found

    def __call__(self, path: Path) -> Probe:
        """Probe a file: see `codecs.probe.probe`. DecoderFailed: that took too long."""
        found = self._run(path, max_duration_s=self._max_duration_s)
        streams = tuple(AudioStream(**stream) for stream in found.pop("streams"))
        found["tracks"] = tracks.parsed(found["tracks"])
        return Probe(streams=streams, **found)
