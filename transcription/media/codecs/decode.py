"""Decoding: any recording as mono samples at 16 kHz, the rate at which Whisper hears."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from transcription.errors import BlobMissing
from transcription.media.audio import FULL_SCALE, Samples
from transcription.media.codecs.reader import Reader
from transcription.media.codecs.source import unseal
from transcription.media.recording import Recording
from transcription.media.timeline import Holes


def decode(path: Path, *, limit_s: float) -> Samples:
    """
    Decode the file at *path*: the samples of `record`, without its gaps of more than a few seconds.

    Raises:
        BlobMissing, InvalidAudio: as `record` has them.
    """
    return record(path, limit_s=limit_s).samples


def record(path: Path, *, limit_s: float, track: str | None = None, language: str | None = None) -> Recording:
    """
    Decode one audio track of the file at *path*, all that can be had of it.

    Args:
        path: A local file in any container that holds sound. Its content decides, not its name.
        limit_s: Longest sound to take, in seconds; decoding stops as soon as it is exceeded.
        track: Which track: see `transcription.tracks.choose`.
        language: The language that was asked for.

    Returns:
        Mono audio, float32 in [-1, 1], 16 kHz, at least one sample, and what is to be known of it. For a file without
        gaps the samples are those of `faster_whisper.decode_audio`. The peak of memory is one and a half times them.

    Raises:
        BlobMissing: there is no such file.
        UnsupportedMedia: no container that is taken here.
        NoAudioStream: a container without sound.
        CorruptAudio: nothing could be decoded.
        NoSamples: the stream is sound, but empty.
        TooLong: more than *limit_s*.
        InvalidOption: no such track.
    """
    with _opened(path) as file:
        reader = Reader(file.fileno(), limit_s=limit_s, track=track, language=language)
        blocks = list(reader.blocks())
    samples = np.empty(sum(block.size for block in blocks), np.float32)
    end = samples.size
    while blocks:  # from the end, so that what is copied is freed at once
        block = blocks.pop()
        np.divide(block, FULL_SCALE, out=samples[end - block.size : end], dtype=np.float32)
        end -= block.size
    return Recording(samples, Holes(reader.holes), tuple(reader.warnings), reader.tracks)


def decode_into(
    source: int,
    target: int,
    *,
    limit_s: float,
    track: str | None = None,
    language: str | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """
    Decode one descriptor into the other, as 16-bit PCM: what a sandbox calls; *key* decrypts the first.

    Returns what else there is to know.
    """
    unseal(source, key)
    reader = Reader(source, limit_s=limit_s, track=track, language=language)
    for block in reader.blocks():
        rest = memoryview(block.tobytes())
        while rest:
            rest = rest[os.write(target, rest) :]
    return reader.report()


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise BlobMissing("the audio isn't on this host's disk any more") from None
