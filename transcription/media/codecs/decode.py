"""Decoding: any recording as mono samples at 16 kHz, the rate at which Whisper hears."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from transcription.encryption.sealed import HEADER_BYTES, Sealer
from transcription.errors import BlobMissing
from transcription.media.audio import FULL_SCALE, Samples
from transcription.media.codecs.reader import Reader
from transcription.media.codecs.source import pread, unseal


def decode(path: Path, *, limit_s: float) -> Samples:
    """
    Decode the file at *path* in this process: the samples without gaps of more than a few seconds.

    Mono audio, float32 in [-1, 1], 16 kHz, at least one sample. For a file without gaps they are those of
    `faster_whisper.decode_audio`.

    Raises:
        BlobMissing, InvalidAudio: as `Decoder.decode` has them.
    """
    with _opened(path) as file:
        blocks = list(Reader(file.fileno(), limit_s=limit_s, track=None, language=None).blocks())
    return np.concatenate(blocks).astype(np.float32) / FULL_SCALE


def decode_into(
    source: int,
    target: int,
    *,
    limit_s: float,
    track: str | None = None,
    language: str | None = None,
    channel: int | None = None,
    key: str | None = None,
    target_key: str | None = None,
) -> dict[str, Any]:
    """
    Decode one descriptor into the other, as 16-bit PCM: what a sandbox calls.

    *key* decrypts the first; *target_key* encrypts what goes into the second, behind the header that it has already.
    Returns what else there is to know.
    """
    unseal(source, key)
    reader = Reader(source, limit_s=limit_s, track=track, language=language, channel=channel)
    sealer = Sealer(pread(target, HEADER_BYTES, 0), bytes.fromhex(target_key), after=0) if target_key else None
    samples = 0
    for block in reader.blocks():
        samples += block.size
        data = block.tobytes()
        _write(target, sealer.feed(data) if sealer else data)
    if sealer:
        _write(target, sealer.filled())
    return {**reader.report(), "samples": samples}


def _write(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(target, rest) :]


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise BlobMissing("the audio isn't on this host's disk any more") from None
