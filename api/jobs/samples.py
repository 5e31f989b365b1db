"""Samples of known speakers' voices on their way into the blob store: looked at first, each like an upload."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from api.uploads.form import printable
from transcription.errors import InvalidAudio, InvalidReference, MurmurationError, ReferenceWithoutSpeech
from transcription.media.findings import Sample
from transcription.options import LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S
from transcription.ports import BlobStore, Upload

FILENAME = "sample"

QUIETEST = 1e-3
"""Root mean square, of full scale at 1, below which a sample holds nothing: -60 dB."""

_LENIENCE_S = 0.1
"""What an encoder adds at both ends."""


class Voice(NamedTuple):
    """A sample that can be used: its upload, not yet committed, how it sounds, and the name that it is kept under."""

    upload: Upload
    sample: Sample
    filename: str


@asynccontextmanager
async def judged(
    samples: Mapping[str, bytes], blobs: BlobStore, *, listen: Callable[[Path], Awaitable[Sample]]
) -> AsyncIterator[list[Voice]]:
    """
    Receive samples and listen to all of them; those that the block doesn't commit are gone after it.

    Args:
        samples: Content by speaker's name.
        blobs: Where they go.
        listen: Decodes a file in a process of its own and says how it sounds.

    Raises:
        InvalidReference: one isn't audio, or too short, or too long.
        ReferenceWithoutSpeech: one is silent.
    """
    uploads: list[Upload] = []
    try:
        voices = []
        for name, content in samples.items():
            upload = blobs.upload(expected_bytes=len(content))
            uploads.append(upload)
            await upload.write(content)
            try:
                voices.append(Voice(upload, _usable(await listen(await upload.path())), FILENAME))
            except (InvalidAudio, InvalidReference, ReferenceWithoutSpeech) as error:
                raise _named(name, error) from error
        yield voices
    finally:
        for upload in uploads:
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
