"""Jobs that ask who speaks wait for two computations; the ledger starts, shares and ends each once."""

import asyncio

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient, left_over
from transcription.computation import Claim, Timing
from transcription.job import Audio, Failure, Job, Outcome, Status, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.speakers import Diarized, Turn
from transcription.transcript import Segment, Word

DIARIZER = "voices@1"
SPEAKERS = f"speakers:{DIARIZER}"
SEGMENT = Segment(
    0.0,
    4.0,
    " Good morning. Hello.",
    words=(Word(0.0, 1.0, " Good", 0.9), Word(1.0, 2.0, " morning.", 0.9), Word(2.2, 4.0, " Hello.", 0.9)),
)
TURNS = (Turn(0.0, 2.1, 0), Turn(2.1, 4.0, 1))


class Platform:
    """A client and a worker that can do both, on one real ledger."""

    def __init__(self, redis_url: str) -> None:
        self.settings = Settings(ledger={"url": redis_url}, lease={"max_attempts": 2})
        self.redis: Redis = connect(self.settings.ledger)
        self.redis.flushall()
        self.spans = RedisSpans(self.redis, self.settings)
        self.client = LedgerClient(self.settings)
        self.spans.register(
            WorkerInfo(
                id="w1", models=("demo",), engine="none", device="cpu", compute_type="int8", slots=2, host="here",
                pid=1, started_at=1.0, diarizer=DIARIZER,
            )
        )  # fmt: skip

    def submit(
        self, name: str, letter: str = "a", samples: str = "", key: str | None = None, **options: object
    ) -> tuple[Job, Outcome]:
        """Ask who speaks in recording *letter*; *samples*: a letter for each known speaker's."""
        asked = Options(**{"diarize": True, **options})
        return self.client.ask(
            lambda jobs: jobs.submit(
                Submission(
                    job_id=name, tenant="default", audio=_audio(letter), model="demo", revision="r1", options=asked,
                    diarizer=DIARIZER if asked.diarize else None,
                    references=tuple(map(_audio, samples)), idempotency_key=key,
                )
            )
        )  # fmt: skip

    def claim(self, model: str) -> Claim:
        claim = self.spans.claim("w1", models=(model,), extras=True)
        assert claim is not None
        return claim

    def nothing_to_claim(self) -> bool:
        return self.spans.claim("w1", models=("demo", SPEAKERS), extras=True) is None

    def transcribe(self) -> None:
        claim = self.claim("demo")
        assert claim.diarization is None
        self.spans.prepared(claim, [Piece(Span(0, 10), (Span(0, 10),))], language="en", probability=0.9)
        self.spans.append(claim, [SEGMENT], window=0, audio_s=10)
        self.spans.finish(claim, Timing(audio_s=10, compute_s=1))

    def hear(self, *ends: float) -> None:
        """Every span of the recording, cut at *ends*, but not the one that tells apart what was heard."""
        starts = (0.0, *ends[:-1])
        pieces = [Piece(Span(a, b), (Span(a, b),)) for a, b in zip(starts, ends, strict=True)]
        for number in range(len(ends)):
            claim = self.claim(SPEAKERS)
            assert claim.diarization is not None
            assert not claim.closing
            if number == 0:
                self.spans.prepared(claim, pieces, language=None, probability=None)
            self.spans.append_voices(claim, f"span {number}".encode(), window=0, audio_s=1)
            assert not self.spans.finish(claim, Timing(audio_s=1))

    def tell_apart(self) -> None:
        claim = self.claim(SPEAKERS)
        assert claim.closing
        self.spans.append_diarized(claim, Diarized(TURNS))
        assert self.spans.finish(claim, Timing(audio_s=0))

    def diarize(self) -> None:
        self.hear(10.0)
        self.tell_apart()

    def segments(self, job: Job) -> list[tuple[str | None, str]]:
        now = self.client.get(job)
        found = self.client.ask(lambda jobs: jobs.transcript(now))
        return [(one.speaker, one.text) for one in found.segments]


def _audio(letter: str) -> Audio:
    return Audio(sha256=letter * 64, bytes=1000, duration_s=10.0, filename=f"{letter}.wav")


@pytest.fixture
def platform(redis_url: str) -> Platform:
    return Platform(redis_url)


def test_job_is_complete_only_when_its_words_and_its_speakers_are_known(platform: Platform) -> None:
    job, outcome = platform.submit("j1")
    assert outcome is Outcome.NEW
    platform.transcribe()
    assert platform.client.status(job) is Status.PROCESSING
    assert platform.segments(job) == [(None, " Good morning. Hello.")]
    platform.diarize()
    assert platform.client.status(job) is Status.COMPLETED
    assert platform.segments(job) == [("A", " Good morning."), ("B", " Hello.")]


def test_speakers_may_be_known_before_the_words(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.diarize()
    assert platform.client.status(job) is Status.PROCESSING
    platform.transcribe()
    assert platform.client.status(job) is Status.COMPLETED


def test_asking_for_speakers_later_does_not_transcribe_again(platform: Platform) -> None:
    plain, _ = platform.submit("j1", diarize=False)
    platform.transcribe()
    job, outcome = platform.submit("j2")
    assert outcome is Outcome.NEW
    assert platform.client.status(plain) is Status.COMPLETED
    platform.diarize()
    assert platform.nothing_to_claim()
    assert platform.segments(job) == [("A", " Good morning."), ("B", " Hello.")]
    assert platform.segments(plain) == [(None, " Good morning. Hello.")]


def test_same_question_is_answered_at_once_and_another_number_of_speakers_is_another_one(platform: Platform) -> None:
    platform.submit("j1")
    platform.transcribe()
    platform.diarize()
    assert platform.submit("j2")[1] is Outcome.CACHED
    assert platform.submit("j3", num_speakers=3)[1] is Outcome.NEW
    assert platform.claim(SPEAKERS).diarization.num_speakers == 3


def test_spans_are_heard_apart_and_told_apart_once_all_together(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.transcribe()
    platform.hear(4.0, 10.0)
    claim = platform.claim(SPEAKERS)
    assert claim.closing
    heard = platform.spans.voices(claim)
    assert [one.windows for one in heard] == [(b"span 0",), (b"span 1",)]
    assert [one.speech for one in heard] == [(Span(0, 4),), (Span(4, 10),)]
    assert platform.nothing_to_claim()
    platform.spans.append_diarized(claim, Diarized(TURNS))
    assert platform.spans.finish(claim, Timing(audio_s=0))
    assert platform.client.status(job) is Status.COMPLETED


def test_canceled_job_stops_both_and_leaves_nothing(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.claim(SPEAKERS)
    assert platform.client.cancel(job).status is Status.CANCELED
    assert platform.nothing_to_claim()
    platform.client.forget(job)
    assert not {name for name in left_over(platform.redis) if name.startswith(("comp:", "span:", "segs:", "dedup:"))}


def test_canceling_one_of_two_leaves_the_shared_diarization_to_the_other(platform: Platform) -> None:
    first, _ = platform.submit("j1")
    second, outcome = platform.submit("j2")
    assert outcome is Outcome.JOINED
    platform.client.cancel(first)
    platform.transcribe()
    platform.diarize()
    assert platform.client.status(second) is Status.COMPLETED
    assert platform.client.status(first) is Status.CANCELED


def test_job_fails_with_its_diarization_and_a_retry_brings_back_that_alone(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.transcribe()
    boom = Failure(code="engine_failed", message="boom", retryable=True)
    platform.spans.fail(platform.claim(SPEAKERS), boom, retry_in_s=None)
    failed = platform.client.get(job)
    assert failed.status is Status.FAILED
    assert failed.failure.message == "boom"
    (letter,) = platform.client.letters()
    assert letter.diarization is not None
    platform.client.ask(lambda jobs: jobs.retry(letter.computation))
    assert platform.client.status(job) is Status.PROCESSING
    platform.diarize()
    assert platform.client.status(job) is Status.COMPLETED


def test_transcript_that_fails_fails_the_job_though_its_speakers_are_known(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.diarize()
    broken = Failure(code="engine_failed", message="no words", retryable=True)
    platform.spans.fail(platform.claim("demo"), broken, retry_in_s=None)
    assert platform.client.get(job).failure.message == "no words"


def test_lease_that_runs_out_while_speakers_are_told_apart_costs_an_attempt_only(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.transcribe()
    platform.hear(10.0)
    claim = platform.claim(SPEAKERS)
    platform.redis.zadd("murmur:leases", {claim.name: 1})
    platform.redis.hset("murmur:config", mapping={"grace": 0, "reaped": 1 << 52})
    assert platform.spans.reap() == 1
    platform.tell_apart()
    assert platform.client.status(job) is Status.COMPLETED


def test_names_replace_labels_until_they_are_taken_back(platform: Platform) -> None:
    job, _ = platform.submit("j1")
    platform.transcribe()
    platform.diarize()
    rename = lambda names: platform.client.ask(lambda jobs: jobs.rename(job.id, names, tenant="default"))  # noqa: E731
    rename({"A": "Anna"})
    rename({"B": "Bob"})
    assert [who for who, _ in platform.segments(job)] == ["Anna", "Bob"]
    assert rename({"A": ""}).names == (("B", "Bob"),)
    assert [who for who, _ in platform.segments(job)] == ["A", "Bob"]


@pytest.mark.parametrize("speakers_last", [True, False])
def test_events_end_once_when_both_are_known(platform: Platform, speakers_last: bool) -> None:
    job, _ = platform.submit("j1")
    steps = [platform.transcribe, platform.diarize]
    (steps if speakers_last else steps[::-1])[0]()

    async def listen() -> list[str]:
        redis = connect_async(platform.settings.ledger)
        watch = Watch(redis)
        log = RedisEvents(redis, platform.settings, watch)
        told, quiet = [], 0
        async for event in log.events(job, after=None, quiet_s=0.2):
            if event is not None:
                told.append(f"{event.type} {event.data.get('status', '')}".strip())
                continue
            quiet += 1
            if quiet == 2:
                await asyncio.to_thread((steps if speakers_last else steps[::-1])[1])
        await watch.close()
        await redis.aclose()
        return told

    told = asyncio.run(listen())
    assert told[-2:] == ["status completed", "done completed"]
    assert told.count("status completed") == 1


def test_deadline_that_passes_fails_what_is_left_to_do(platform: Platform) -> None:
    job, _ = platform.submit("j1", deadline_s=60)
    platform.transcribe()
    platform.redis.zadd("murmur:deadlines", {job.id: 1})
    platform.spans.reap()
    failed = platform.client.get(job)
    assert failed.status is Status.FAILED
    assert failed.failure.code == "deadline_exceeded"
    assert platform.nothing_to_claim()
