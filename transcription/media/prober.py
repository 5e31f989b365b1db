"""Judging files that nobody has looked at yet, in a process that may die of them."""

from pathlib import Path
from typing import Any

from transcription.media.probe import AudioStream, Probe, probe
from transcription.media.sandbox import Sandbox
from transcription.settings import Settings

_FUNCTION = "transcription.media.probe:probe_descriptor"
_MEMORY_BYTES = 1 << 30
_CPU_S = 20.0
_PATIENCE_S = 30.0


class Prober:
    """Judges files in a sandbox, or in this process where the settings say so. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._max_duration_s = settings.limits.max_duration_s
        self._sandbox = Sandbox(_FUNCTION, memory_bytes=_MEMORY_BYTES) if settings.security.sandbox else None

    def start(self) -> None:
        """Make the first judgement as quick as the others."""
        if self._sandbox is not None:
            self._sandbox.start()

    def close(self) -> None:
        """End the sandbox."""
        if self._sandbox is not None:
            self._sandbox.close()

    def __call__(self, path: Path) -> Probe:
        """Judge a file: see `probe`. DecoderFailed: that took too long."""
        if self._sandbox is None:
            return probe(path, max_duration_s=self._max_duration_s)
        with path.open("rb") as file:
            found: dict[str, Any] = self._sandbox.run(
                [file.fileno()], cpu_s=_CPU_S, silence_s=_PATIENCE_S, max_duration_s=self._max_duration_s
            )
        streams = tuple(AudioStream(**stream) for stream in found.pop("streams"))
        return Probe(streams=streams, **found)
