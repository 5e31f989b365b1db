"""The events of a job, in memory: what a segment says, and how a listener hears that the job has expired."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import fakeredis
import orjson
import pytest
from redis import Redis

from api.openapi.examples import RESPONSES
from tests.ledger_steps import TIMING, WHOLE, submission
from tests.ledger_worker import LedgerWorker
from transcription.job import Job
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.ports import Event
from transcription.settings import Settings
from transcription.transcript import Segment, Word

pytestmark = pytest.mark.anyio

SETTINGS = Settings(ledger={"timeout_s": 20})


@dataclass
class Site:
    """A ledger in memory, a job in it, who follows the job and who works on it."""

    redis: Redis
    job: Job
    events: RedisEvents
    spans: RedisSpans
    worker: LedgerWorker

    def complete(self, *segments: Segment) -> None:
        held = self.worker.claim()
        self.spans.prepared(held, [WHOLE], language="en", probability=0.9)
        self.spans.append(held, segments, window=0, audio_s=10.0)
        self.spans.finish(held, TIMING)

    async def heard(self) -> list[Event]:
        async with aclosing(self.events.events(self.job, after=None, quiet_s=5)) as events:
            return [event async for event in events if event is not None]


@pytest.fixture
def redis() -> Redis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(server_type="valkey"), decode_responses=True)


@pytest.fixture
async def site(redis: Any) -> AsyncIterator[Site]:
    client = fakeredis.FakeAsyncRedis(server=redis.connection_pool.connection_kwargs["server"], decode_responses=True)
    watch = Watch(client)
    jobs = RedisJobs(client, SETTINGS, watch)  # type: ignore[arg-type]
    job, _ = await jobs.submit(submission())
    spans = RedisSpans(redis, SETTINGS)
    yield Site(redis, job, RedisEvents(client, SETTINGS, watch), spans, LedgerWorker(spans))
    await jobs.close()


async def test_a_segment_s_event_has_what_clients_read_and_none_of_the_model_s_tokens(site: Site) -> None:
    word = Word(1.0, 2.0, " Hello.", 0.9)
    site.complete(
        Segment(1.0, 2.0, " Hello.", tokens=(1, 2, 3), words=(word,)), Segment(6.0, 7.0, " Bye.", tokens=(4,))
    )
    told = [event.data for event in await site.heard() if event.type == "segment"]
    assert [segment["text"] for segment in told] == [" Hello.", " Bye."]
    assert ["words" in segment for segment in told] == [True, False]
    assert all("tokens" not in segment for segment in told)
    assert [(segment["low_confidence"], segment["doubtful"], segment["span"]) for segment in told] == [
        (False, False, 0),
        (False, False, 0),
    ]


async def test_the_openapi_document_shows_events_as_they_are(site: Site) -> None:
    site.complete(Segment(0.0, 2.4, " Good morning, everyone."))
    told = (await site.heard())[-4:]
    blocks = RESPONSES["follow_job"]["200", "text/event-stream"].strip().split("\n\n")[1:]
    shown = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    assert [(one["event"], orjson.loads(one["data"]).keys()) for one in shown] == [
        (event.type, event.data.keys()) for event in told
    ]
    assert [one["id"].partition(".")[2] for one in shown] == [event.id.partition(".")[2] for event in told]


async def test_a_listener_hears_that_the_job_has_expired_and_the_stream_ends(site: Site) -> None:
    site.complete(Segment(1.0, 2.0, " Hello."))
    site.redis.zadd("murmur:expiry", {site.job.id: 1})
    assert site.spans.sweep() == 1
    (status, error, failed) = await site.heard()
    assert (status.id, status.type, status.data) == ("end.0", "status", {"status": "expired"})
    assert [error.type, failed.type] == ["error", "failed"]
    assert error.data == failed.data
    assert (failed.data["code"], failed.data["retryable"]) == ("job_expired", False)


async def test_a_listener_who_was_there_before_hears_the_end_after_what_he_has_heard(site: Site) -> None:
    async with aclosing(site.events.events(site.job, after=None, quiet_s=60)) as events:
        first = await anext(events)
        assert first is not None
        assert first.data == {"status": "queued"}
        site.complete(Segment(1.0, 2.0, " Hello."))
        site.redis.zadd("murmur:expiry", {site.job.id: 1})
        assert site.spans.sweep() == 1
        rest = [event async for event in events if event is not None]
    assert [event.type for event in rest] == ["status", "error", "failed"]
    assert rest[-1].data["code"] == "job_expired"
