"""Jobs that have each channel transcribed by itself wait for all of them; each is started, shared and ended once."""

import asyncio
import itertools
from contextlib import aclosing
from typing import Any

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient, left_over
from transcription.computation import Claim, Facts, Timing
from transcription.errors import MalformedRequest
from transcription.job import Audio, Failure, Job, Outcome, Status, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import Event, WorkerInfo
from transcription.result_warning import ResultWarning, WarningCode
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment

BOOM = Failure(code="engine_failed", message="boom", retryable=True)
DAMAGED = ResultWarning(code=WarningCode.DAMAGED, message="noise", start=1.0)


class Platform:
    """A client and a worker on one real ledger."""

    def __init__(self, redis_url: str) -> None:
        self.settings = Settings(ledger={"url": redis_url}, lease={"max_attempts": 2})
        self.redis: Redis = connect(self.settings.ledger)
        self.redis.flushall()
        self.spans = RedisSpans(self.redis, self.settings)
        self.client = LedgerClient(self.settings)
        self.spans.register(
            WorkerInfo(
                id="w1", models=("demo",), engine="none", device="cpu", compute_type="int8", slots=2, host="here",
                pid=1, started_at=1.0,
            )
        )  # fmt: skip

    def submit(self, name: str = "j1", *, channels: int = 2, split: bool = True, **options: Any) -> tuple[Job, Outcome]:
        wish = Submission(
            job_id=name,
            tenant="default",
            audio=Audio(sha256="a" * 64, bytes=1000, duration_s=10.0, filename="call.wav"),
            model="demo",
            revision="r1",
            options=Options.model_validate({"channels": "split" if split else "mix", **options}),
            channels=channels if split else 1,
        )
        return self.client.ask(lambda jobs: jobs.submit(wish))

    def claim(self) -> Claim:
        claim = self.spans.claim("w1", models=("demo",), extras=True)
        assert claim is not None
        return claim

    def claims(self, count: int) -> list[Claim]:
        """So many channels, in order."""
        return sorted((self.claim() for _ in range(count)), key=lambda claim: claim.decoding.channel or 0)

    def nothing_to_claim(self) -> bool:
        return self.spans.claim("w1", models=("demo",), extras=True) is None

    def prepare(self, claim: Claim, *, language: str = "en", same_as: int | None = None) -> None:
        pieces = [Piece(Span(0, 10), () if same_as else (Span(0, 10),))]
        facts = Facts(warnings=(DAMAGED,), same_as=same_as)
        self.spans.prepared(
            claim, pieces, language=None if same_as else language, probability=None if same_as else 0.9, facts=facts
        )

    def transcribe(self, *languages: str) -> None:
        """The next channel's two sentences: a second apart from those of the channel before it."""
        claim = self.claim()
        assert claim.decoding.channel
        self.prepare(claim, language=languages[claim.decoding.channel - 1] if languages else "en")
        at = float(claim.decoding.channel)
        for window, start in enumerate((at, at + 4)):
            segment = Segment(start, start + 0.9, f" {claim.decoding.channel} says {window}.")
            self.spans.append(claim, [segment], window=window, audio_s=5.0 * (window + 1))
        self.spans.finish(claim, Timing(audio_s=10, compute_s=1))

    def segments(self, job: Job) -> list[tuple[int | None, str | None, str]]:
        now = self.client.get(job)
        found = self.client.ask(lambda jobs: jobs.transcript(now))
        return [(one.channel, one.channel_name, one.text) for one in found.segments]

    def events(self, job: Job, after: str | None = None) -> list[Event]:
        """What there is to tell now."""

        async def listen() -> list[Event]:
            redis = connect_async(self.settings.ledger)
            watch = Watch(redis)
            told = []
            async with aclosing(RedisEvents(redis, self.settings, watch).events(job, after=after, quiet_s=0)) as log:
                async for event in log:
                    if event is None:
                        break
                    told.append(event)
            await watch.close()
            await redis.aclose()
            return told

        return asyncio.run(listen())


@pytest.fixture
def platform(redis_url: str) -> Platform:
    return Platform(redis_url)


def test_job_is_complete_when_all_channels_are_and_merged_by_time(platform: Platform) -> None:
    job, outcome = platform.submit(channel_names=["agent"])
    assert outcome is Outcome.NEW
    platform.transcribe("en", "de")
    half = platform.client.get(job)
    assert (half.status, half.progress.fraction) == (Status.PROCESSING, 0.5)
    platform.transcribe("en", "de")
    whole = platform.client.get(job)
    assert (whole.status, whole.progress.fraction, whole.compute_s) == (Status.COMPLETED, 1.0, 2.0)
    assert [channel.language for channel in whole.channels] == ["en", "de"]
    assert platform.segments(job) == [
        (1, "agent", " 1 says 0."),
        (2, None, " 2 says 0."),
        (1, "agent", " 1 says 1."),
        (2, None, " 2 says 1."),
    ]
    assert whole.warnings == (DAMAGED,)  # every channel says so of the same file


def test_channels_are_there_to_be_claimed_at_the_same_time_and_computed_once_for_all_jobs(platform: Platform) -> None:
    platform.submit("j1")
    _, joined = platform.submit("j2", channel_names=["left", "right"])
    assert joined is Outcome.JOINED
    claims = platform.claims(2)
    assert [claim.decoding.channel for claim in claims] == [1, 2]
    assert platform.nothing_to_claim()
    for claim in claims:
        platform.prepare(claim)
        platform.spans.append(claim, [Segment(1, 2, " Hello.")], window=0, audio_s=10)
        platform.spans.finish(claim, Timing(audio_s=10))
    _, cached = platform.submit("j3")
    assert cached is Outcome.CACHED
    mixed, outcome = platform.submit("j4", split=False)
    assert (mixed.channels, outcome) == ((), Outcome.NEW)


def test_channel_with_the_same_sound_as_another_is_left_to_that_one(platform: Platform) -> None:
    job, _ = platform.submit()
    first, second = platform.claims(2)
    platform.prepare(second, same_as=1)
    assert platform.spans.finish(second, Timing(audio_s=10), windows=0)
    platform.prepare(first)
    platform.spans.append(first, [Segment(1, 2, " Hello.")], window=0, audio_s=10)
    assert platform.spans.finish(first, Timing(audio_s=10), windows=1)
    assert platform.segments(job) == [(1, None, " Hello.")]
    assert platform.client.get(job).channels[1].same_as == 1
    assert platform.client.get(job).language == "en"


def test_canceled_job_stops_every_channel_and_leaves_nothing(platform: Platform) -> None:
    job, _ = platform.submit(channels=3)
    platform.claim()
    assert platform.client.cancel(job).status is Status.CANCELED
    assert platform.nothing_to_claim()
    platform.client.forget(job)
    assert not {name for name in left_over(platform.redis) if name.startswith(("comp:", "span:", "segs:", "dedup:"))}


def test_job_fails_with_one_channel_and_a_retry_brings_back_that_alone(platform: Platform) -> None:
    job, _ = platform.submit(webhook_url="http://receiver.test/")
    platform.transcribe()
    broken = platform.claim()
    platform.spans.fail(broken, BOOM, retry_in_s=None)
    failed = platform.client.get(job)
    assert (failed.status, failed.failure and failed.failure.message) == (Status.FAILED, "boom")
    (letter,) = platform.client.letters()
    assert letter.decoding == broken.decoding
    assert letter.jobs == ("j1",)
    platform.client.ask(lambda jobs: jobs.retry(letter.computation))
    platform.transcribe()
    assert platform.client.status(job) is Status.COMPLETED
    assert platform.nothing_to_claim()


def test_expired_job_takes_every_channel_along(platform: Platform) -> None:
    job, _ = platform.submit()
    platform.transcribe()
    platform.transcribe()
    platform.redis.zadd("murmur:expiry", {job.id: 1})
    while platform.spans.sweep():
        pass
    assert platform.client.status(job) is Status.EXPIRED
    assert not {name for name in left_over(platform.redis) if name.startswith(("comp:", "span:", "segs:", "dedup:"))}


def test_deadline_that_passes_fails_the_channels_that_are_left(platform: Platform) -> None:
    job, _ = platform.submit(deadline_s=60)
    platform.transcribe()
    platform.redis.zadd("murmur:deadlines", {job.id: 1})
    platform.spans.reap()
    failed = platform.client.get(job)
    assert (failed.status, failed.failure and failed.failure.code) == (Status.FAILED, "deadline_exceeded")
    assert platform.nothing_to_claim()


def test_events_say_the_channel_and_end_once(platform: Platform) -> None:
    job, _ = platform.submit(channel_names=["agent", "customer"])
    platform.transcribe()
    assert [event.type for event in platform.events(job)][-1] == "progress"
    platform.transcribe()
    told = platform.events(job)
    said = [(event.data["channel_name"], event.data["text"]) for event in told if event.type == "segment"]
    assert sorted(said) == [
        ("agent", " 1 says 0."), ("agent", " 1 says 1."), ("customer", " 2 says 0."), ("customer", " 2 says 1.")
    ]  # fmt: skip
    assert [event.type for event in told].count("warning") == 1
    assert [event.type for event in told].count("done") == 1
    assert (told[-1].type, told[-1].data["status"]) == ("done", "completed")


def test_client_that_goes_on_after_any_event_misses_none_and_gets_none_twice(platform: Platform) -> None:
    job, _ = platform.submit(channels=3)
    first, second = platform.claim(), platform.claim()
    for claim in (first, second):
        platform.prepare(claim)
    for window, claim in itertools.product(range(3), (first, second)):
        pair = [Segment(window, window + 0.4, " a"), Segment(window + 0.5, window + 0.9, " b")]
        platform.spans.append(claim, pair, window=window, audio_s=1.0 + window)
    platform.spans.finish(first, Timing(audio_s=10))
    platform.spans.finish(second, Timing(audio_s=10))
    platform.transcribe()
    whole = [event.id for event in platform.events(job)]
    assert len(set(whole)) == len(whole)
    for number, name in enumerate(whole):
        assert [event.id for event in platform.events(job, after=name)] == whole[number + 1 :]


def test_client_in_the_middle_hears_of_what_comes_later_in_any_channel(platform: Platform) -> None:
    job, _ = platform.submit()
    platform.transcribe()
    early = platform.events(job)
    platform.transcribe()
    late = platform.events(job, after=early[-1].id)
    texts = [event.data["text"] for event in (*early, *late) if event.type == "segment"]
    assert sorted(texts) == [" 1 says 0.", " 1 says 1.", " 2 says 0.", " 2 says 1."]


@pytest.mark.parametrize("after", ["1-0.0", "1-0_1-0.0", "1-0_1-0@2.0", "1-0_1-0_1-0@0.0", "1-0_@0.0", "x"])
def test_id_of_an_event_that_this_job_never_had_is_refused(platform: Platform, after: str) -> None:
    job, _ = platform.submit()
    with pytest.raises(MalformedRequest):
        platform.events(job, after=after)
