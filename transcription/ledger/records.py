"""The ledger's hashes as the domain's values, and back."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from transcription import tracks
from transcription.channels import Channel, once
from transcription.computation import Claim, DeadLetter
from transcription.errors import DeadlineExceeded, Fault
from transcription.job import Audio, Failure, Job, Progress, QueuePosition, Status
from transcription.options import Decoding, Diarization, Options, Priority
from transcription.result_warning import ResultWarning, parsed
from transcription.spans import Piece, Span
from transcription.speakers import Diarized, Turn, attribute
from transcription.tracks import Track
from transcription.transcript import Segment, Transcript, Word, merge

SPEAKERS = "speakers"
"""The kind of a computation that says who speaks."""


def ms(seconds: float) -> int:
    """Seconds as the ledger keeps them."""
    return round(seconds * 1000)


def seconds(value: str | int | None) -> float | None:
    """The ledger's milliseconds; None for what isn't set."""
    return None if value in (None, "") else float(value) / 1000


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


def _failure(job_hash: dict[str, str], comp: dict[str, str], whose: str = "") -> Failure:
    if "failed" in job_hash:
        return Failure(code=DeadlineExceeded.code, message=job_hash["error"], retryable=True, fault=Fault.PLATFORM)
    return Failure(
        code=comp.get("error_code", "engine_failed"),
        message=whose + comp.get("error", ""),
        retryable=comp.get("error_retryable") == "1",
        fault=Fault(comp.get("error_fault", Fault.ENGINE)),
    )


def dead_letter(died_at: float, comp: dict[str, str], jobs: list[str]) -> DeadLetter:
    """A failed computation as an operator sees it."""
    return DeadLetter(
        computation=comp["id"],
        died_at=died_at,
        failure=_failure({}, comp),
        attempts=int(comp["attempts"]),
        model=comp["model"],
        decoding=_decoding(comp),
        diarization=_diarization(comp),
        audio_sha256=comp["sha"],
        filename=comp["filename"],
        duration_s=seconds(comp["duration"]) or 0.0,
        jobs=tuple(sorted(jobs)),
    )


def claim(fields: dict[str, Any]) -> Claim:
    """What the claim script returns."""
    return Claim(
        computation=fields["computation"],
        index=int(fields["index"]),
        token=int(fields["token"]),
        span=Span(float(fields["start"]) / 1000, float(fields["end"]) / 1000),
        attempt=int(fields["attempt"]),
        windows_done=int(fields["windows"]),
        audio_sha256=fields["sha"],
        filename=fields["filename"],
        model=fields["model"],
        decoding=_decoding(fields),
        diarization=_diarization(fields),
        closing=fields["kind"] == SPEAKERS and int(fields["index"]) > 0 and fields["start"] == fields["end"],
        language=fields["language"] or None,
        speech=stretches(fields["speech"]),
        whole=int(fields["spans"]) == 1,
        suspect=int(fields["suspect"]) == 1,
        alone=int(fields["alone"]) == 1,
        request_id=fields["request"],
        traceparent=fields["trace"],
        faults=int(fields["faults"]),
        faulting_s=float(fields["faulting"]) / 1000,
        revision=fields.get("revision"),
        priority=Priority(fields["class"]),
        waited_s=seconds(fields["waited"]),
        age_s=seconds(fields["age"]),
    )


def _diarization(fields: dict[str, Any]) -> Diarization | None:
    return Diarization.model_validate_json(fields["decoding"]) if fields.get("kind") == SPEAKERS else None


def _decoding(fields: dict[str, Any]) -> Decoding:
    """How a recording is transcribed; of one in which speakers are told apart, how it is decoded."""
    asked = _diarization(fields)
    if asked is None:
        return Decoding.model_validate_json(fields["decoding"])
    return Decoding(normalize=asked.normalize, audio_track=asked.audio_track, language=asked.language)


def piece(value: Piece) -> tuple[int, int, str]:
    """A span as the prepared script takes it: start, end, and its speech as a flat list of edges, all in ms."""
    edges = [ms(edge) for stretch in value.speech for edge in (stretch.start, stretch.end)]
    return ms(value.span.start), ms(value.span.end), orjson.dumps(edges).decode()


def stretches(speech: str) -> tuple[Span, ...] | None:
    """A span's speech as `piece` wrote it; None before the recording was cut."""
    if not speech:
        return None
    edges = [edge / 1000 for edge in orjson.loads(speech)]
    return tuple(Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))


def windows(written: list[str]) -> tuple[Segment, ...]:
    """The segments of windows as they stand in the ledger."""
    return tuple(segment(raw) for window in written for raw in orjson.loads(window))


def warnings_written(found: Iterable[ResultWarning]) -> str:
    """Warnings as the scripts take them: a line each, its code and its JSON."""
    return "\n".join(f"{warning.code.value} {orjson.dumps(warning.shape()).decode()}" for warning in found)


def warnings(written: str | None) -> tuple[ResultWarning, ...]:
    """What `warnings_written` wrote, of one call or of several."""
    lines = (written or "").split("\n")
    found = parsed(orjson.loads(line.partition(" ")[2]) for line in lines if line)
    return tuple(dict.fromkeys(found))  # every channel says what is wrong with the file


def _tracks(comp: dict[str, str]) -> tuple[Track, ...]:
    return tracks.parsed(orjson.loads(comp.get("tracks") or "[]"))


def transcript(
    comp: dict[str, str],
    spans: list[list[str]],
    spoken: Sequence[Turn] = (),
    names: Mapping[str, str] | None = None,
) -> Transcript:
    """
    All that is written of a computation, in the order of time; for each span its windows.

    With the turns in which it was *spoken* every segment and word gets its speaker, by *names* where there are any.
    """
    decoding = Decoding.model_validate_json(comp["decoding"])
    segments = merge(windows(written) for written in spans)
    first = comp.get("language") or decoding.language
    language = _main_language(segments) or first
    probability = comp.get("language_probability") if language == first else None
    return Transcript(
        segments=attribute(segments, spoken, names),
        language=language,
        language_probability=float(probability) if probability else None,
        duration=seconds(comp["duration"]) or 0.0,
        task=decoding.task.value,
        model=comp["model"],
        complete=comp["status"] == Status.COMPLETED,
        warnings=warnings(comp.get("warnings")),
        words=decoding.word_timestamps,
    )


def _main_language(segments: Iterable[Segment]) -> str | None:
    """The language in which most is said, where it was told segment by segment."""
    spoken: Counter[str] = Counter()
    for one in segments:
        if one.language is not None:
            spoken[one.language] += ms(one.end - one.start)
    return max(spoken, key=lambda code: (spoken[code], code)) if spoken else None


def diarized(written: list[str]) -> Diarized:
    """Who speaks when, as the last span of a diarization wrote it; an earlier version wrote turns alone."""
    found = orjson.loads(written[0]) if written else []
    raw: dict[str, Any] = found if isinstance(found, dict) else {"turns": found}
    return Diarized(
        tuple(
            Turn(start / 1000, end / 1000, speaker, overlap=bool(overlap))
            for start, end, speaker, overlap in raw["turns"]
        ),
        tuple(tuple(vector) for vector in raw.get("embeddings", ())),
        raw.get("threshold", 0.0),
    )


def diarized_written(found: Diarized) -> str:
    """
    Who speaks when, as the ledger keeps it.

    Of each turn its start and end in ms, the speaker's number, whether another speaks too; of each speaker's embedding
    its direction, to four places.
    """
    shape = {
        "turns": [(ms(one.start), ms(one.end), one.speaker, int(one.overlap)) for one in found.turns],
        "embeddings": [[round(value, 4) for value in vector] for vector in found.embeddings],
        "threshold": found.threshold,
    }
    return orjson.dumps(shape).decode()


def written(segments: Iterable[Segment]) -> str:
    """Segments as the ledger keeps them: whose they are is told when they are read."""
    return orjson.dumps([_unattributed(asdict(one)) for one in segments]).decode()


def _unattributed(raw: dict[str, Any]) -> dict[str, Any]:
    for part in (raw, *(raw["words"] or ())):
        del part["speaker"], part["overlap"]
    del raw["channel"], raw["channel_name"]
    if raw["language"] is None:  # APIs of earlier versions don't know it
        del raw["language"]
    return raw


def segment(raw: dict[str, Any]) -> Segment:
    """A segment as orjson wrote it; earlier versions called `low_confidence` `doubtful`."""
    if "doubtful" in raw:
        raw["low_confidence"] = raw.pop("doubtful")
    words = raw.pop("words")
    tokens = tuple(raw.pop("tokens"))
    return Segment(**raw, tokens=tokens, words=words if words is None else tuple(Word(**word) for word in words))
