"""Decoding out of the way: a file that crashes the codecs, or eats memory, ends a process that has nothing else."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from transcription.encryption.files import file_encryption
from transcription.errors import BlobMissing, CorruptAudio
from transcription.media import plain
from transcription.media.audio import RATE
from transcription.media.recording import Recording
from transcription.media.sandbox import Sandbox
from transcription.retry import classified
from transcription.settings import Settings

_FUNCTION = "transcription.media.codecs.decode:decode_into"

_SILENCE_S = 60.0
"""Longest time without a new sample; shorter than `lease.stall_s`, so that the worker outlives it."""

_CPU_S = 60.0
_SLOWEST = 10.0
"""Least seconds of audio that a second of processor time must decode, after the first minute."""

_SPARE_BYTES = 1 << 20


class Decoder:
    """Decodes, each file in a process of its own, but for samples that need no codec. Threads may share it."""

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
        target: BinaryIO,
        *,
        progressed: Callable[[], None] = lambda: None,
        check: Callable[[], None] = lambda: None,
        track: str | None = None,
        language: str | None = None,
        channel: int | None = None,
    ) -> Recording:
        """
        Decode one audio track of the file at *path*, all that can be had of it, as mono at 16 kHz.

        Args:
            path: A local file in any container that holds sound. Its content decides, not its name.
            target: A file that was begun (`FileEncryption.begin`) and is empty; it gets the samples as they come,
                encrypted where it is, and the recording reads from it.
            progressed: Called now and then while samples come.
            check: Called about twice a second; what it raises ends the decoding.
            track: Which track, as the client gave it: see `transcription.tracks.choose`.
            language: The language that was asked for.
            channel: The channel to take, from 1 on; None: all of them, as one.

        Raises:
            BlobMissing: there is no such file.
            UnsupportedMedia: no container that is taken here.
            NoAudioStream: a container without sound.
            CorruptAudio: nothing could be decoded, or the decoder crashed.
            NoSamples: the stream is sound, but empty.
            TooLong: more than the platform takes.
            InvalidOption: no such track.
            DecoderFailed: it was killed, or no sample came for a minute.
            DiskFull, ScratchFailed: a file couldn't be read or written.
        """
        moving = _Growth(target.fileno(), progressed, check).moving
        with _opened(path) as source:
            keys = self._encryption.hex_key_of(source), self._encryption.hex_key_of(target.fileno())
            asked = track is not None or channel is not None
            report = None if asked or any(keys) else self._copied(source, target.fileno(), moving)
            if report is None:
                report = self._sandbox.run(
                    [source, target.fileno()],
                    cpu_s=_CPU_S + self._limit_s / _SLOWEST,
                    file_bytes=self._encryption.stored_size(int(self._limit_s * RATE * 2) + _SPARE_BYTES),
                    moving=moving,
                    silence_s=_SILENCE_S,
                    limit_s=self._limit_s,
                    track=track,
                    language=language,
                    channel=channel,
                    key=keys[0],
                    target_key=keys[1],
                )
        try:
            file, size = self._encryption.so_far(target)
            if not size:
                raise CorruptAudio("the decoder gave no sample of this file")
            return Recording.from_report(file, size // 2, report)
        except (KeyError, TypeError, ValueError) as error:
            # The file may have taken the process over.
            raise CorruptAudio(f"the decoder reports something impossible for this file ({error})"[:300]) from error

    def _copied(self, source: int, target: int, moved: Callable[[], Any]) -> dict[str, Any] | None:
        try:
            return plain.copy(source, target, max_duration_s=self._limit_s, moved=moved)
        except OSError as error:
            raise classified(error) from error


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
