"""A job's own record and its computations' as one job."""

from collections.abc import Sequence

import orjson

from transcription import tracks
from transcription.channels import Channel, once
from transcription.errors import DeadlineExceeded, Fault
from transcription.job import Audio, Failure, Job, Progress, QueuePosition, Status
from transcription.ledger.records.computations import failure
from transcription.ledger.records.values import seconds, warnings
from transcription.options import Options
from transcription.tracks import Track


def job(
    job_hash: dict[str, str], comp: dict[str, str], queue: QueuePosition | None, further: Sequence[dict[str, str]] = ()
) -> Job:
    """
    A job's own record and its computations as one job; they are gone when the job left them early.

    *further*: what it waits for besides its transcript: that of its further channels, then its diarization, then the
    samples of known speakers.
    """
    parts, count = [comp, *further], len(job_hash.get("channels", "").split())
    channels, further = [comp, *further[:count]], further[count:]
    speakers = further[0] if further else {}
    status = _status(job_hash, parts)
    options = Options.model_validate_json(job_hash.get("options", "{}"))
    duration = seconds(comp.get("duration") or job_hash["duration"]) or 0.0
    done = sum(map(_done, channels)) / len(channels)
    done = duration if status is Status.COMPLETED else min(done, _done(speakers) if speakers else duration)
    ended = _ended(job_hash, parts, status)
    broken = next((part for part in parts if part.get("status") == Status.FAILED), comp)
    created = seconds(job_hash["created"]) or 0.0
    cached = job_hash.get("cached") == "1"
    return Job(
        id=job_hash["id"],
        tenant=job_hash["tenant"],
        computation=job_hash["comp"],
        status=status,
        created_at=created,
        started_at=created if cached else _started(parts),
        completed_at=None if ended is None else max(ended, created),
        expires_at=None if ended is None else _expires(job_hash, broken, max(ended, created)),
        model=job_hash["model"],
        language=next(filter(None, (one.get("language") for one in channels)), options.language),
        options=options,
        audio=Audio(
            sha256=job_hash["sha"], bytes=int(job_hash["bytes"]), duration_s=duration, filename=job_hash["filename"]
        ),
        cached=cached,
        attempts=max(int(one.get("attempts", "0")) for one in channels),
        progress=Progress(audio_seconds_done=done, audio_seconds_total=duration, estimated=not _is_known(comp, status)),
        queue=queue,
        failure=_failure(job_hash, broken, _sample_of(broken, further, options)) if status is Status.FAILED else None,
        compute_s=_compute_s(parts),
        warnings=once([warnings(one.get("warnings")) for one in channels]),
        tracks=_tracks(comp),
        channels=_channels(job_hash, options, channels),
        diarization=job_hash.get("speakers"),
        names=tuple(sorted(orjson.loads(job_hash.get("names", "{}")).items())),
        references=tuple(job_hash.get("references", "").split()),
    )


def _channels(job_hash: dict[str, str], options: Options, comps: Sequence[dict[str, str]]) -> tuple[Channel, ...]:
    """The channels of a job that has each transcribed by itself; none for another."""
    if "channels" not in job_hash:
        return ()
    found = []
    for number, computation in enumerate([job_hash["comp"], *job_hash["channels"].split()], start=1):
        comp = comps[number - 1] if number <= len(comps) else {}
        same_as = comp.get("same_as")
        found.append(
            Channel(
                number=number,
                computation=computation,
                name=options.channel_names[number - 1] if number <= len(options.channel_names) else None,
                language=comp.get("language") or None,
                same_as=int(same_as) if same_as else None,
            )
        )
    return tuple(found)


def _done(comp: dict[str, str]) -> float:
    # What has left the ledger has only its length.
    return seconds(comp.get("duration" if comp.get("status") == Status.COMPLETED else "done", "0")) or 0.0


def _ended(job_hash: dict[str, str], parts: Sequence[dict[str, str]], status: Status) -> float | None:
    early = seconds(job_hash.get("canceled") or job_hash.get("failed"))
    ends = [seconds(one.get("completed")) for one in parts]
    known = [end for end in ends if end is not None]
    if early is not None or not known or not (status.terminal or len(parts) == 1):
        return early
    # It failed with the first that did, and is complete with the last.
    return max(known) if status is not Status.FAILED else min(known)


def _started(parts: Sequence[dict[str, str]]) -> float | None:
    return min((at for one in parts if (at := seconds(one.get("started"))) is not None), default=None)


def _compute_s(parts: Sequence[dict[str, str]]) -> float | None:
    spent = [at for one in parts if (at := seconds(one.get("compute_ms"))) is not None]
    return sum(spent) if spent else None


def _is_known(comp: dict[str, str], status: Status) -> bool:
    """Whether the length is that of the decoded sound; a computation of an earlier version doesn't say."""
    return "known" in comp or status is Status.COMPLETED


def _status(job_hash: dict[str, str], parts: Sequence[dict[str, str]]) -> Status:
    if "expired" in job_hash:
        return Status.EXPIRED
    if "failed" in job_hash:
        return Status.FAILED
    if "canceled" in job_hash or not parts[0]:
        return Status.CANCELED
    found = {Status(one["status"]) for one in parts if one}
    if len(found) == 1:
        return found.pop()
    return next((end for end in (Status.FAILED, Status.CANCELED) if end in found), Status.PROCESSING)


def _expires(record: dict[str, str], comp: dict[str, str], ended: float) -> float:
    """When a job that ended goes: not before its dead letter does."""
    own = ended + float(record["ttl"]) / 1000
    return own if "canceled" in record or "failed" in record else max(own, seconds(comp.get("dead_until")) or 0.0)


def _sample_of(broken: dict[str, str], further: Sequence[dict[str, str]], options: Options) -> str:
    """What the message begins with where it is a known speaker's sample that failed: whose."""
    names = (name for name, part in zip(options.known_speakers, further[1:], strict=False) if part is broken)
    return next((f"known speaker {name!r}: " for name in names), "")


def _failure(job_hash: dict[str, str], comp: dict[str, str], whose: str) -> Failure:
    if "failed" in job_hash:
        return Failure(code=DeadlineExceeded.code, message=job_hash["error"], retryable=True, fault=Fault.PLATFORM)
    return failure(comp, whose)


def _tracks(comp: dict[str, str]) -> tuple[Track, ...]:
    return tracks.parsed(orjson.loads(comp.get("tracks") or "[]"))
