"""Samples of known speakers' voices on their way into the blob store: looked at first, each like an upload."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from api.uploads.form import printable
from transcription.errors import InvalidAudio, InvalidReference, MurmurationError, ReferenceWithoutSpeech
from transcription.job import Audio
from transcription.media.findings import Sample
from transcription.options import LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S
from transcription.ports import BlobStore, Upload

FILENAME = "sample"

QUIETEST = 1e-3
"""Root mean square, of full scale at 1, below which a sample holds nothing: -60 dB."""

_LENIENCE_S = 0.1
"""What an encoder adds at both ends."""


async def kept(
    samples: Mapping[str, bytes],
    blobs: BlobStore,
    *,
    listen: Callable[[Path], Awaitable[Sample]],
    keep: Callable[[Upload], Awaitable[str]],
) -> tuple[Audio, ...]:
    """
    Store samples, all of them or, where one can't be used, none.

    Args:
        samples: Content by speaker's name.
        blobs: Where they go.
        listen: Decodes a file in a process of its own and says how it sounds.
        keep: Commits an upload; its SHA-256.

    Raises:
        InvalidReference: one isn't audio, or too short, or too long.
        ReferenceWithoutSpeech: one is silent.
    """
    found = []
    async with _received(samples, blobs) as uploads:
        heard = []
        for name, upload in uploads.items():
            try:
                heard.append(_usable(await listen(await upload.path())))
            except (InvalidAudio, InvalidReference, ReferenceWithoutSpeech) as error:
                raise _named(name, error) from error
        for upload, sample in zip(uploads.values(), heard, strict=True):
            sha256 = await keep(upload)
            found.append(Audio(sha256=sha256, bytes=upload.size, duration_s=sample.duration_s, filename=FILENAME))
    return tuple(found)


@asynccontextmanager
async def _received(samples: Mapping[str, bytes], blobs: BlobStore) -> AsyncIterator[dict[str, Upload]]:
    uploads: dict[str, Upload] = {}
    try:
        for name, content in samples.items():
            uploads[name] = blobs.upload(expected_bytes=len(content))
            await uploads[name].write(content)
        yield uploads
    finally:
        for upload in uploads.values():
            await upload.abort()


def _usable(sample: Sample) -> Sample:
    if not SHORTEST_SAMPLE_S - _LENIENCE_S <= sample.duration_s <= LONGEST_SAMPLE_S + _LENIENCE_S:
        length = (
            f"more than {LONGEST_SAMPLE_S:g} s"
            if sample.duration_s > LONGEST_SAMPLE_S
            else f"{sample.duration_s:.2f} s"
        )
        raise InvalidReference(
            f"the sample is {length} long; it must be {SHORTEST_SAMPLE_S:g} to {LONGEST_SAMPLE_S:g} s"
        )
    if sample.loudness < QUIETEST:
        raise ReferenceWithoutSpeech("the sample is silent")
    return sample


def _named(name: str, error: MurmurationError) -> MurmurationError:
    whose = f"known speaker {printable(name)!r}: "
    if isinstance(error, InvalidAudio):
        return InvalidReference(f"{whose}the sample can't be used: {error.message}")
    return type(error)(whose + error.message)
