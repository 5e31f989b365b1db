"""Channels: transcripts of a recording's channels, each made by itself, as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transcription.result_warning import ResultWarning
from transcription.transcript import Segment, Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """
    One channel of a job that has each transcribed by itself. ``number`` counts from 1.

    ``same_as``: the channel that has the same sound, and the transcript of both. ``language``: ISO 639-1, once known.
    """

    number: int
    computation: str
    name: str | None = None
    language: str | None = None
    same_as: int | None = None


def joined(parts: Sequence[tuple[Channel, Transcript]]) -> Transcript:
    """
    Put the transcripts of all channels together, by time.

    Args:
        parts: Each channel with its transcript, in order; one that is the same as another's is left out.

    Returns:
        A transcript whose segments say their channel, and their language where it isn't the same for all of them. What
        it lacks, it lacks once, though every channel says so.
    """
    heard = [part for part in parts if part[0].same_as is None] or list(parts[:1])
    spoken = [transcript for _, transcript in heard if transcript.segments] or [heard[0][1]]
    several = len({transcript.language for transcript in spoken}) > 1
    segments = [
        replace(
            segment,
            channel=channel.number,
            channel_name=channel.name,
            language=segment.language or (transcript.language if several else None),
        )
        for channel, transcript in heard
        for segment in transcript.segments
    ]
    most = max(spoken, key=_spoken_s)
    return replace(
        most,
        segments=tuple(sorted(segments, key=_place)),
        duration=max(transcript.duration for _, transcript in heard),
        complete=all(transcript.complete for _, transcript in parts),
        warnings=once([transcript.warnings for _, transcript in parts]),
    )


def once(parts: Sequence[Sequence[ResultWarning]]) -> tuple[ResultWarning, ...]:
    """What any of several transcripts of one recording lacks: each warning once."""
    return tuple(dict.fromkeys(warning for warnings in parts for warning in warnings))


def _spoken_s(transcript: Transcript) -> float:
    return sum(segment.end - segment.start for segment in transcript.segments)


def _place(segment: Segment) -> tuple[float, float, int]:
    return segment.start, segment.end, segment.channel or 0
