"""A submit's recording and voice samples on their way into the blob store: judged first, and kept together or not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from api.jobs.channels import count_channels
from api.jobs.samples import judged
from api.uploads.receive import Received
from transcription.errors import BlobMissing, LedgerUnavailable, OutcomeUnknown, ScratchFailed, StorageUnavailable
from transcription.job import Audio
from transcription.media.findings import Probe, Sample
from transcription.options import Options
from transcription.ports import BlobStore, JobStore, Upload
from transcription.settings import Limits
from transcription.storage.part_file import disk_errors

T = TypeVar("T")

_DELETING_TRIES = 50
_DELETING_WAIT_S = 0.1
# The store's clock may be ahead of ours.
_CLOCKS_S = 3600.0
_RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a job will be made of: its recording, how many channels of it are transcribed apart, its voice samples."""

    audio: Audio
    channels: int
    references: tuple[Audio, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Looks at uploads with codecs in processes of their own, and keeps or deletes what the blob store has of them."""

    limits: Limits
    jobs: JobStore
    blobs: BlobStore
    probes: Executor
    probe: Callable[[Path], Probe]
    listen: Callable[[Path], Sample]

    @asynccontextmanager
    async def of_job(self, job_id: str) -> AsyncIterator["JobIntake"]:
        """
        Keep recordings for a job that the block then records.

        Where the block fails, what was kept is to be deleted within minutes, unless another job needs it. Where it
        isn't known whether the job was recorded, that is left to the daily scan.
        """
        intake = JobIntake(self, job_id)
        try:
            yield intake
        except OutcomeUnknown:
            raise
        except Exception:
            with suppress(LedgerUnavailable):  # the daily scan finds it
                await self.jobs.withdraw(intake.expected, job_id=job_id)
            raise

    async def look(self, received: Received) -> Probe:
        """What an upload holds. InvalidAudio, Unavailable."""
        with store_errors():
            return await self.run(self.probe, await received.upload.path())

    async def run(self, look: Callable[[Path], T], path: Path) -> T:
        """Look at a file with codecs, in threads of their own: neither the loop nor writes wait for them."""
        return await asyncio.get_running_loop().run_in_executor(self.probes, look, path)

    async def discard(self, sha256: str) -> None:
        """Delete a recording at once; what can't be deleted now the sweeper deletes."""
        with store_errors():
            # In an upload's threads: a share that hangs holds none that answers wait for.
            discard = partial(self.blobs.discard, sha256, older_than_s=-_CLOCKS_S)
            await asyncio.get_running_loop().run_in_executor(self.probes, discard)
        await self.jobs.deleted(sha256)


@dataclass(slots=True)
class JobIntake:
    """What one job brings; ``expected`` are the SHA-256s that the ledger knows to be on their way for it."""

    intake: Intake
    job_id: str
    expected: list[str] = field(default_factory=list)

    async def keep(self, received: Received, samples: Mapping[str, bytes], options: Options) -> Kept:
        """
        Keep a recording and its known speakers' samples, all of them or, where one can't be used, none.

        Raises:
            InvalidAudio, InvalidReference, ReferenceWithoutSpeech, InvalidOption, Unavailable.
        """
        intake = self.intake

        async def listen(path: Path) -> Sample:
            return await intake.run(intake.listen, path)

        with store_errors():
            async with judged(samples, intake.blobs, listen=listen) as voices:
                found = await intake.look(received)
                channels = count_channels(found, options, most=intake.limits.max_channels)
                references = [
                    await self._commit(voice.upload, duration_s=voice.sample.duration_s, filename=voice.filename)
                    for voice in voices
                ]
                audio = await self._commit(received.upload, duration_s=found.duration_s, filename=received.filename)
        structlog.contextvars.bind_contextvars(audio_hash=audio.sha256, file_size_bytes=audio.bytes)
        return Kept(audio=audio, channels=channels, references=tuple(references))

    async def _commit(self, upload: Upload, *, duration_s: float, filename: str) -> Audio:
        await self._expect(upload.sha256())
        sha256 = await upload.commit()
        return Audio(sha256=sha256, bytes=upload.size, duration_s=duration_s, filename=filename)

    async def _expect(self, sha256: str) -> None:
        """Keep the recording from being deleted with another's last job, while this one is on its way."""
        for _ in range(_DELETING_TRIES):
            if await self.intake.jobs.expect(sha256, job_id=self.job_id):
                self.expected.append(sha256)
                return
            await asyncio.sleep(_DELETING_WAIT_S)
        raise StorageUnavailable("the same recording is being deleted just now", retry_after_s=5)


@contextmanager
def store_errors() -> Iterator[None]:
    """
    What the store can't do now is no fault of the request: nothing was accepted, and the same may be sent again.

    Raises:
        DiskFull, StorageUnavailable: its disk is full, or away, or lost the upload on the way.
    """
    try:
        with disk_errors():
            yield
    except (BlobMissing, ScratchFailed) as error:
        raise StorageUnavailable(
            f"the upload can't be kept now: {error.message}", retry_after_s=_RETRY_AFTER_S
        ) from error
