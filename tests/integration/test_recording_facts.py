"""What decoding told of a recording reaches its job, its transcript, its events, the counters and the quota."""

from dataclasses import replace

import pytest
from redis import Redis

from tests.ledger_steps import TIMING, WHOLE, ask, claim, job, submission, submit
from tests.platform import eventually
from transcription.computation import Facts
from transcription.errors import QuotaExceeded
from transcription.job import Outcome
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.span_store import RedisSpans
from transcription.ledger.tenants.quotas import RedisQuotas
from transcription.ledger.webhook_outbox import RedisOutbox
from transcription.ports import Event
from transcription.result_warning import ResultWarning, WarningCode
from transcription.settings import Settings
from transcription.settings.security import Tier
from transcription.spans import Piece, Span
from transcription.tracks import Track
from transcription.transcript import Segment
from transcription.webhook import Message

DAMAGED = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=3.0, seconds=2.0)
SKIPPED = ResultWarning(code=WarningCode.SKIPPED, message="no further", start=6.0, seconds=1.0)
TRACKS = (Track(number=1, codec="aac", channels=2, sample_rate=48_000, language="en", default=True, taken=True),)
DAY = Tier(audio_s_per_day=7200)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(ledger={"url": redis_url, "timeout_s": 20}, lease={"ttl_s": 60})


def events(settings: Settings, job_id: str) -> list[Event]:
    async def read(jobs: object) -> list[Event]:
        client = connect_async(settings.ledger)
        watch = Watch(client)
        try:
            log = RedisEvents(client, settings, watch)
            now = await jobs.get(job_id, tenant="default")  # type: ignore[attr-defined]
            return [event async for event in log.events(now, after=None, quiet_s=60) if event is not None]
        finally:
            await watch.close()
            await client.aclose()

    return ask(settings, read)


def test_warnings_and_tracks_stay_with_the_result_also_with_a_cached_one(settings: Settings, spans: RedisSpans) -> None:
    first, _ = submit(settings, submission())
    assert first.progress.estimated
    held = claim(spans)
    spans.prepared(held, [WHOLE], language="en", probability=0.9, facts=Facts(warnings=(DAMAGED,), tracks=TRACKS))
    assert not job(settings, first.id).progress.estimated
    spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=10.0, warnings=[SKIPPED])
    spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=10.0, warnings=[SKIPPED])  # a repetition
    spans.finish(held, TIMING)
    cached, outcome = submit(settings, submission())
    assert outcome is Outcome.CACHED
    for found in (job(settings, first.id), cached):
        assert (found.warnings, found.tracks) == ((DAMAGED, SKIPPED), TRACKS)
        transcript = ask(settings, lambda jobs, found=found: jobs.transcript(found))  # type: ignore[misc]
        assert transcript.warnings == (DAMAGED, SKIPPED)
        told = events(settings, found.id)
        assert [e.data for e in told if e.type == "warning"] == [DAMAGED.shape(), SKIPPED.shape()]
        assert told[-1].data["warnings"] == [DAMAGED.shape(), SKIPPED.shape()]
    assert ask(settings, lambda jobs: jobs.backlog()).warnings == {"damaged": 1, "skipped": 1}


def test_a_webhook_s_message_says_what_the_result_lacks_also_when_the_result_is_gone(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    async def taken(_: object) -> Message | None:
        client = connect_async(settings.ledger)
        try:
            return await RedisOutbox(client, settings).claim(lease_s=0.001)
        finally:
            await client.aclose()

    one, _ = submit(settings, submission(webhook_url="http://receiver.example/"))
    held = claim(spans)
    spans.prepared(held, [WHOLE], language="en", probability=0.9, facts=Facts(warnings=(DAMAGED,)))
    spans.append(held, [], window=0, audio_s=10.0)
    spans.finish(held, TIMING)
    first = ask(settings, taken)
    redis_server.delete(f"murmur:comp:{one.computation}")
    again = eventually(lambda: ask(settings, taken))
    for message in (first, again):
        assert message is not None
        assert message.warnings == (DAMAGED,)


def test_warnings_without_end_are_kept_only_so_far(settings: Settings, spans: RedisSpans, redis_server: Redis) -> None:
    one, _ = submit(settings, submission())
    held = claim(spans)
    spans.prepared(held, [WHOLE], language="en", probability=0.9)
    for window in range(400):
        spans.append(held, [], window=window, audio_s=1.0, warnings=[replace(SKIPPED, message="x" * 300)])
    assert len(job(settings, one.id).warnings) <= 8
    assert len(str(redis_server.hget(f"murmur:comp:{one.computation}", "warnings"))) <= 40_000


@pytest.mark.parametrize(("claimed_s", "true_s"), [(1.0, 5000.0), (7000.0, 10.0)])
def test_a_quota_is_settled_up_and_down_when_the_true_length_is_known(
    settings: Settings, spans: RedisSpans, claimed_s: float, true_s: float
) -> None:
    def take(seconds: float) -> None:
        async def taking(_: object) -> None:
            client = connect_async(settings.ledger)
            try:
                await RedisQuotas(client).take("default", DAY, job_id="j", audio_s=seconds)
            finally:
                await client.aclose()

        ask(settings, taking)

    take(claimed_s)
    submit(settings, replace(submission(), charged_s=claimed_s))
    spans.prepared(claim(spans), [Piece(Span(0, true_s), ())], language="en", probability=None)
    take(7200 - true_s)
    with pytest.raises(QuotaExceeded):
        take(1)
