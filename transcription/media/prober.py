"""Judging files that nobody has looked at yet."""

from pathlib import Path
from typing import Any, BinaryIO

from transcription import tracks
from transcription.encryption.files import file_encryption
from transcription.media import plain
from transcription.media.findings import AudioStream, Probe, Sample
from transcription.media.sandbox import Sandbox
from transcription.settings import Settings

_FUNCTION = "transcription.media.codecs.probe:probe_descriptor"
_MEMORY_BYTES = 1 << 30
_CPU_S = 20.0
_PATIENCE_S = 30.0


class Prober:
    """
    Probes files, each in a process of its own that may die of it, but for those so plain that no codec is needed.

    Threads may share it.
    """

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
        with path.open("rb") as file:
            return Sample(**self._asked(file, self._key_of(file), max_duration_s=limit_s, whole=True))

    def __call__(self, path: Path) -> Probe:
        """Probe a file: see `codecs.probe.probe`. DecoderFailed: that took too long."""
        limit_s = self._max_duration_s
        with path.open("rb") as file:
            key = self._key_of(file)
            found = plain.look(file.fileno(), max_duration_s=limit_s) if key is None else None
            if found is None:
                found = self._asked(file, key, max_duration_s=limit_s)
        streams = tuple(AudioStream(**stream) for stream in found.pop("streams"))
        found["tracks"] = tracks.parsed(found["tracks"])
        return Probe(streams=streams, **found)

    def _key_of(self, file: BinaryIO) -> str | None:
        return self._encryption.hex_key_of(file.fileno())

    def _asked(self, file: BinaryIO, key: str | None, **keywords: Any) -> dict[str, Any]:
        """What the codecs say."""
        answer: dict[str, Any] = self._sandbox.run(
            [file.fileno()], cpu_s=_CPU_S, silence_s=_PATIENCE_S, key=key, **keywords
        )
        return answer
