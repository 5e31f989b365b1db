"""Reading what has been written of transcripts, in the ledger or in the store that results have moved to."""

import asyncio

from transcription.channels import joined
from transcription.errors import JobExpired
from transcription.job import Job, Status
from transcription.known_speakers import recognized
from transcription.ledger.archive import ArchiveReader
from transcription.ledger.connections.errors import translated
from transcription.ledger.records import transcripts
from transcription.ledger.scripts import Scripts, pairs
from transcription.ports import Mark
from transcription.speakers import Diarized, Turn
from transcription.transcript import Segment, Transcript

WINDOWS = 50
"""Windows of a transcript that are read at once: about a quarter of an hour of speech."""


class TranscriptReader:
    """Puts a job's transcript together from its computations."""

    def __init__(self, scripts: Scripts, archives: ArchiveReader) -> None:
        self._scripts = scripts
        self._archives = archives

    async def transcript(self, job: Job) -> Transcript:
        """What has been written of the job's transcript so far."""
        if job.channels:
            parts = [(channel, await self._transcript(job, channel.computation)) for channel in job.channels]
            return await asyncio.to_thread(joined, parts)
        found = await self._diarized(job.diarization) if job.diarization else Diarized()
        known: dict[str, str] = {}
        if found.turns and job.references:
            samples = [await self._diarized(reference) for reference in job.references]
            known = recognized(found, list(zip(job.options.known_speakers, samples, strict=False)))
        return await self._transcript(job, job.computation, found.turns, {**known, **dict(job.names)})

    async def _transcript(
        self, job: Job, computation: str, turns: tuple[Turn, ...] = (), names: dict[str, str] | None = None
    ) -> Transcript:
        with translated():
            comp, *spans = await self._scripts.call("transcript", computation)
        if not comp:
            raise JobExpired.of(job.id)
        fields, spans = await self._archives.whole(computation, pairs(comp), spans)
        return await asyncio.to_thread(transcripts.transcript, fields, spans, turns, names)

    async def _diarized(self, diarization: str) -> Diarized:
        """Who speaks when; nothing before that is known."""
        with translated():
            comp, *spans = await self._scripts.call("transcript", diarization)
        if pairs(comp).get("status") != Status.COMPLETED:
            return Diarized()
        _, spans = await self._archives.whole(diarization, pairs(comp), spans)
        return await asyncio.to_thread(transcripts.diarized, spans[-1])

    async def written(self, job: Job, mark: Mark) -> tuple[tuple[Segment, ...], Mark]:
        """The transcript's next segments after *mark*: see JobStore."""
        if job.channels:  # any of them may have something that comes before, until all of them are done
            if mark != (0, 0) or job.status is not Status.COMPLETED:
                return (), mark
            return (await self.transcript(job)).segments, (1, 0)
        with translated():
            span, window, *windows = await self._scripts.call("written", job.computation, *mark, WINDOWS) or (*mark,)
        if span == "archived":
            archive = await self._archives.read(job.computation)
            rest = [part[mark[1] if mark[0] == at else 0 :] for at, part in enumerate(archive.spans) if at >= mark[0]]
            return transcripts.windows([one for part in rest for one in part]), (len(archive.spans), 0)
        return transcripts.windows(windows), (span, window)
