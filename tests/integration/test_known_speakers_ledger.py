"""Samples of known speakers are computations of their own: a job waits for them, shares them, lets their audio go."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.test_diarization_ledger import SPEAKERS, TURNS, Platform
from tests.ledger_client import left_over
from tests.memory_jobs import MemoryQueue
from transcription.computation import Claim, Timing
from transcription.errors import Fault, IdempotencyConflict
from transcription.housekeeping.maintenance import Maintenance
from transcription.job import Failure, Job, Outcome, Status
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.spans import Piece, Span
from transcription.speakers import Diarized, Turn
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import open_results

KNOWN = ["Eva", "Nora"]
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)
VOICES = {"a" * 64: Diarized(TURNS, (NORTH, EAST), 0.3)} | {
    letter * 64: Diarized((Turn(0, 4, 0),), (voice,), 0.3) for letter, voice in (("e", EAST), ("n", NORTH))
}


@pytest.fixture
def platform(redis_url: str) -> Platform:
    return Platform(redis_url)


def diarize_all(platform: Platform, *, leaving: str = "") -> list[Claim]:
    """Do what waits for the diarizer, but not the recordings *leaving* names; what was done."""
    claims, left = [], []
    while (claim := platform.spans.claim("w1", models=(SPEAKERS,), extras=True)) is not None:
        if claim.audio_sha256[0] in leaving:
            left.append(claim)
            continue
        claims.append(claim)
        if claim.closing:
            platform.spans.append_diarized(claim, VOICES[claim.audio_sha256])
        else:
            whole = Span(0, 10)
            platform.spans.prepared(claim, [Piece(whole, (whole,))], language=None, probability=None)
            platform.spans.append_voices(claim, b"heard", window=0, audio_s=10)
        platform.spans.finish(claim, Timing(audio_s=10))
    for claim in left:
        platform.spans.release(claim)
    return claims


def ask(platform: Platform, name: str, letter: str = "a", **options: object) -> tuple[Job, Outcome]:
    return platform.submit(name, letter, "en", known_speakers=KNOWN, **options)


def test_speakers_are_called_as_the_samples_say(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    assert platform.client.status(job) is Status.COMPLETED
    assert platform.segments(job) == [("Nora", " Good morning."), ("Eva", " Hello.")]


def test_job_waits_for_its_samples_too(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform, leaving="n")
    assert platform.client.status(job) is Status.PROCESSING
    diarize_all(platform)
    assert platform.client.status(job) is Status.COMPLETED


def test_samples_are_worked_on_once_and_never_change_what_was_said_or_who_speaks(platform: Platform) -> None:
    plain, _ = platform.submit("j1")
    platform.transcribe()
    platform.diarize()
    ask(platform, "j2")
    assert sorted(claim.audio_sha256[0] for claim in diarize_all(platform)) == ["e", "e", "n", "n"]
    assert platform.nothing_to_claim()
    assert ask(platform, "j3")[1] is Outcome.CACHED
    assert [who for who, _ in platform.segments(plain)] == ["A", "B"]


def test_same_samples_may_have_other_names(platform: Platform) -> None:
    ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    job, outcome = platform.submit("j2", "a", "ne", known_speakers=["Ann", "Bea"])
    assert outcome is Outcome.CACHED
    assert [who for who, _ in platform.segments(job)] == ["Ann", "Bea"]


def test_name_that_is_given_later_stands_before_the_known_one(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    platform.client.ask(lambda jobs: jobs.rename(job.id, {"A": "Anna"}, tenant="default"))
    assert [who for who, _ in platform.segments(job)] == ["Anna", "Eva"]
    platform.client.ask(lambda jobs: jobs.rename(job.id, {"A": ""}, tenant="default"))
    assert [who for who, _ in platform.segments(job)] == ["Nora", "Eva"]


def test_sample_that_cannot_be_used_fails_the_job_and_is_named(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform, leaving="e")
    claim = platform.claim(SPEAKERS)
    assert claim.diarization.reference
    assert claim.diarization.num_speakers == 1
    message = "no speech is heard in the sample"
    why = Failure(code="reference_without_speech", message=message, fault=Fault.INPUT)
    platform.spans.fail(claim, why, retry_in_s=None)
    failed = platform.client.get(job)
    assert (failed.status, failed.failure.code) == (Status.FAILED, "reference_without_speech")
    assert failed.failure.message == "known speaker 'Eva': no speech is heard in the sample"
    assert not platform.client.letters()


def test_audio_of_samples_is_needed_until_their_voices_are_known(platform: Platform) -> None:
    ask(platform, "j1")
    names = ["a" * 64, "e" * 64, "n" * 64]
    assert platform.spans.needed_audio(names) == set(names)
    diarize_all(platform)
    assert platform.spans.needed_audio(names) == {"a" * 64}
    platform.transcribe()
    assert not platform.spans.needed_audio(names)


def test_deleted_job_leaves_nothing_of_its_samples(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    assert set(platform.client.forget(job)) == {"a" * 64, "e" * 64, "n" * 64}
    kinds = ("comp:", "span:", "segs:", "dedup:", "blob:", "job:")
    assert not {name for name in left_over(platform.redis) if name.startswith(kinds)}


def archive_all(platform: Platform, root: Path) -> None:
    retention = platform.settings.retention.model_copy(update={"results_in_ledger_s": 0})
    settings = platform.settings.model_copy(update={"data_dir": root, "retention": retention})
    store = open_results(settings)
    assert store is not None
    Maintenance(platform.spans, MemoryQueue(), DiskBlobs(settings.blob_dir), settings, results=store).archive(store)


def test_job_that_is_deleted_after_its_results_have_left_the_ledger_takes_its_samples_along(
    platform: Platform, tmp_path: Path
) -> None:
    ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    archive_all(platform, tmp_path)
    job, outcome = ask(platform, "j2")  # it brings the files once more
    assert outcome is Outcome.CACHED
    platform.submit("j3", "b", "n", cache="off", known_speakers=["Nora"])  # works on one of them
    assert set(platform.client.forget(job)) == {"a" * 64, "e" * 64}


def test_job_of_an_earlier_version_takes_its_samples_along_too(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    platform.redis.hdel("murmur:job:j1", "samples")
    assert set(platform.client.forget(job)) == {"a" * 64, "e" * 64, "n" * 64}


def test_sample_that_another_job_needs_stays(platform: Platform) -> None:
    first, _ = ask(platform, "j1")
    second, _ = ask(platform, "j2", "b")
    assert platform.client.forget(first) == ("a" * 64,)
    assert platform.spans.needed_audio(["e" * 64])
    assert platform.client.status(second) is Status.QUEUED


def test_canceled_job_stops_the_work_on_its_samples(platform: Platform) -> None:
    job, _ = ask(platform, "j1")
    assert platform.client.cancel(job).status is Status.CANCELED
    assert platform.nothing_to_claim()


def test_deadline_fails_the_job_with_its_samples(platform: Platform) -> None:
    job, _ = ask(platform, "j1", deadline_s=60)
    platform.transcribe()
    platform.redis.zadd("murmur:deadlines", {job.id: 1})
    platform.spans.reap()
    assert platform.client.get(job).failure.code == "deadline_exceeded"
    assert platform.nothing_to_claim()


def test_other_samples_under_one_idempotency_key_are_another_payload(platform: Platform) -> None:
    first, _ = ask(platform, "j1", key="once")
    again, outcome = ask(platform, "j2", key="once")
    assert (again.id, outcome) == (first.id, Outcome.REPEATED)
    with pytest.raises(IdempotencyConflict):
        platform.submit("j3", "a", "ne", key="once", known_speakers=KNOWN)


def test_both_parts_of_a_cached_answer_leave_no_sample_behind(platform: Platform) -> None:
    ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    platform.redis.delete("murmur:unneeded")
    assert ask(platform, "j2")[1] is Outcome.CACHED
    assert set(platform.redis.zrange("murmur:unneeded", 0, -1)) == {"a" * 64, "e" * 64, "n" * 64}


def test_known_names_are_read_when_results_have_left_the_ledger(platform: Platform, tmp_path: Path) -> None:
    retention = platform.settings.retention.model_copy(update={"results_in_ledger_s": 0})
    settings = platform.settings.model_copy(update={"data_dir": tmp_path, "retention": retention})
    store = open_results(settings)
    job, _ = ask(platform, "j1")
    platform.transcribe()
    diarize_all(platform)
    care = Maintenance(platform.spans, MemoryQueue(), DiskBlobs(settings.blob_dir), settings, results=store)
    care.archive(store)
    assert len(list(settings.blob_dir.glob("results/??/*"))) == 4

    async def read() -> list[str | None]:
        jobs = RedisJobs(connect_async(settings.ledger), settings, results=store)
        try:
            found = await jobs.transcript(await jobs.get(job.id, tenant="default"))
        finally:
            await jobs.close()
        return [segment.speaker for segment in found.segments]

    assert asyncio.run(read()) == ["Nora", "Eva"]
