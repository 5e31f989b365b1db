"""Decoding out of the way: a file that crashes the codecs, or eats memory, ends a process that has nothing else."""

import mmap
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from transcription import tracks
from transcription.encryption.files import file_encryption
from transcription.errors import BlobMissing, CorruptAudio
from transcription.media.audio import FULL_SCALE, RATE, Samples
from transcription.media.recording import Recording
from transcription.media.sandbox import Sandbox
from transcription.media.timeline import checked
from transcription.result_warning import parsed
from transcription.settings import Settings

_FUNCTION = "transcription.media.codecs.decode:decode_into"

_SILENCE_S = 60.0
"""Longest time without a new sample; shorter than `lease.stall_s`, so that the worker outlives it."""

_CPU_S = 60.0
_SLOWEST = 10.0
"""Least seconds of audio that a second of processor time must decode, after the first minute."""

_SPARE_BYTES = 1 << 20


class Decoder:
    """Decodes, each file in a process of its own: there is no other way. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._limit_s = settings.limits.max_duration_s
        self._encryption = file_encryption(settings)
        self._sandbox = Sandbox(
            _FUNCTION, memory_bytes=settings.security.sandbox_memory_bytes, confined=settings.security.sandbox
        )

    def start(self) -> None:
        """Make the first file as quick as the others."""
        self._sandbox.start()

    def close(self) -> None:
        """End the sandbox, and what is being decoded in it."""
        self._sandbox.close()

    def decode(
        self,
        path: Path,
        *,
        progressed: Callable[[], None],
        check: Callable[[], None],
        track: str | None = None,
        language: str | None = None,
    ) -> Recording:
        """
        Decode the file at *path*: see `transcription.media.codecs.decode.record`.

        Args:
            path: A local file.
            progressed: Called now and then while samples come.
            check: Called about twice a second; what it raises ends the decoding.
            track: `audio_track` as the client gave it.
            language: The language that was asked for.

        Raises:
            InvalidAudio, InvalidOption, BlobMissing: as `record` has them; CorruptAudio also when the decoder crashed.
            DecoderFailed: it was killed, or no sample came for a minute.
        """
        with _opened(path) as source, _memory_file() as target:
            growth = _Growth(target, progressed, check)
            report = self._sandbox.run(
                [source, target],
                cpu_s=_CPU_S + self._limit_s / _SLOWEST,
                file_bytes=int(self._limit_s * RATE * 2) + _SPARE_BYTES,
                moving=growth.moving,
                silence_s=_SILENCE_S,
                limit_s=self._limit_s,
                track=track,
                language=language,
                key=self._encryption.hex_key_of(source),
            )
            return _recording(_samples(target), report)


def _recording(samples: Samples, report: dict[str, Any]) -> Recording:
    """What a sandbox says, none of which is believed unseen: the file may have taken it over."""
    try:
        holes = checked(report["holes"], held=samples.size)
        return Recording(samples, holes, parsed(report["warnings"]), tracks.parsed(report["tracks"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptAudio(f"the decoder says what can't be of this file ({error})"[:300]) from error


class _Growth:
    """Whether a file grows."""

    def __init__(self, descriptor: int, progressed: Callable[[], None], check: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._progressed = progressed
        self._check = check
        self._size = 0

    def moving(self) -> bool:
        self._check()
        size = os.fstat(self._descriptor).st_size
        grown, self._size = size > self._size, size
        if grown:
            self._progressed()
        return grown


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise BlobMissing("the audio isn't on this host's disk any more") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _memory_file() -> Iterator[int]:
    """A file that nobody else can name; in memory where the system has such files."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("pcm")
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()


def _samples(descriptor: int) -> Samples:
    """The PCM in a file as float32 in [-1, 1]; the same samples as `transcription.media.codecs.decode` gives."""
    size = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapped:
        pcm = np.frombuffer(mapped, "<i2")
        samples = np.empty(pcm.size, np.float32)
        np.divide(pcm, FULL_SCALE, out=samples, dtype=np.float32)
        del pcm  # it holds the map
    return samples
