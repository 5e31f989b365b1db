"""Judging files that nobody has looked at yet, in a process that may die of them."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from transcription import tracks
from transcription.encryption.files import file_encryption
from transcription.media.findings import AudioStream, Probe, Sample
from transcription.media.sandbox import Sandbox
from transcription.settings import Settings

_FUNCTION = "transcription.media.codecs.probe:probe_descriptor"
_PLAIN_FUNCTION = "transcription.media.containers.pcm_wave:probe_descriptor"
_MEMORY_BYTES = 1 << 30
_PLAIN_MEMORY_BYTES = 64 << 20
_CPU_S = 20.0
_PATIENCE_S = 30.0


class Prober:
    """Probes files, each in a process of its own: there is no other way to look into one. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._encryption = file_encryption(settings)
        self._max_duration_s = settings.limits.max_duration_s
        confined = settings.security.sandbox
        self._codecs = Sandbox(_FUNCTION, memory_bytes=_MEMORY_BYTES, confined=confined)
        self._plain = Sandbox(_PLAIN_FUNCTION, memory_bytes=_PLAIN_MEMORY_BYTES, confined=confined)

    def start(self) -> None:
        """Make the first probe as quick as the others."""
        self._plain.start()
        self._codecs.start()

    def close(self) -> None:
        """End the sandboxes."""
        self._plain.close()
        self._codecs.close()

    def listen(self, path: Path, *, limit_s: float) -> Sample:
        """Decode a file of *limit_s* at most to its end: see `codecs.probe.listen`. DecoderFailed: it took too long."""
        return Sample(**self._run(path, max_duration_s=limit_s, whole=True))

    def _run(self, path: Path, **keywords: Any) -> dict[str, Any]:
        with path.open("rb") as file:
            key = self._encryption.hex_key_of(file.fileno())
            found: dict[str, Any] | None = None
            if key is None and _looks_plain(file.fileno()) and not keywords.get("whole"):
                found = self._called(self._plain, file, **keywords)
            return self._called(self._codecs, file, key=key, **keywords) if found is None else found

    def _called(self, sandbox: Sandbox, file: BinaryIO, **keywords: Any) -> Any:
        return sandbox.run([file.fileno()], cpu_s=_CPU_S, silence_s=_PATIENCE_S, **keywords)

    def __call__(self, path: Path) -> Probe:
        """Probe a file: see `codecs.probe.probe`. DecoderFailed: that took too long."""
        found = self._run(path, max_duration_s=self._max_duration_s)
        streams = tuple(AudioStream(**stream) for stream in found.pop("streams"))
        found["tracks"] = tracks.parsed(found["tracks"])
        return Probe(streams=streams, **found)


def _looks_plain(descriptor: int) -> bool:
    """Which of the two sandboxes to ask first, by a file's first bytes: nothing else is made of them here."""
    head = os.pread(descriptor, 16, 0)
    return head[:4] == b"RIFF" and head[8:] == b"WAVEfmt "
