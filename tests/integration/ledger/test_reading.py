"""What readers get: pages of jobs, partial transcripts in order, and word of a change."""

import asyncio

import pytest
from redis import Redis

from tests.ledger_steps import TIMING, ask, claim, complete, submission, submit
from tests.platform import eventually_async
from transcription.errors import MalformedRequest
from transcription.job import Job, Status
from transcription.ledger.jobs import change_feed
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.records import jobs as job_records
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment


def test_pages_list_every_job_once_newest_first_and_filter_by_status(settings: Settings, spans: RedisSpans) -> None:
    async def fill(jobs: RedisJobs) -> None:
        for number in range(25):
            await jobs.submit(submission(f"{number:064x}"))

    ask(settings, fill)
    complete(spans, claim(spans))

    async def walk(jobs: RedisJobs) -> list[Job]:
        found: list[Job] = []
        cursor = None
        while True:
            page = await jobs.list(tenant="default", status=None, limit=10, cursor=cursor)
            found += page.jobs
            cursor = page.cursor
            if cursor is None:
                return found

    walked = ask(settings, walk)
    assert len({found.id for found in walked}) == len(walked) == 25
    assert [found.created_at for found in walked] == sorted((found.created_at for found in walked), reverse=True)
    done = ask(settings, lambda jobs: jobs.list(tenant="default", status=Status.COMPLETED, limit=10, cursor=None))
    assert [found.status for found in done.jobs] == [Status.COMPLETED]
    with pytest.raises(MalformedRequest):
        ask(settings, lambda jobs: jobs.list(tenant="default", status=None, limit=1, cursor="nonsense"))


def test_pages_skip_no_job_where_many_came_in_the_same_millisecond(settings: Settings, redis_server: Redis) -> None:
    ids = [submit(settings, submission(f"{number:064x}"))[0].id for number in range(7)]
    redis_server.zadd("murmur:jobs:default", dict.fromkeys(ids, 1_700_000_000_000))
    for job_id in ids:
        redis_server.hset(f"murmur:job:{job_id}", "created", 1_700_000_000_000)

    async def walk(jobs: RedisJobs) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await jobs.list(tenant="default", status=None, limit=2, cursor=cursor)
            found += [job.id for job in page.jobs]
            if len(found) == 4:
                redis_server.zrem("murmur:jobs:default", found[-1])  # the cursor's own job is gone
            cursor = page.cursor
            if cursor is None:
                return found

    assert ask(settings, walk) == sorted(ids, reverse=True)


def test_a_page_of_one_reads_one_job_and_looks_at_no_neighbour(settings: Settings, redis_server: Redis) -> None:
    for number in range(30):
        submit(settings, submission(f"{number:064x}"))
    redis_server.config_resetstat()
    (found,) = ask(settings, lambda jobs: jobs.list(tenant="default", status=None, limit=1, cursor=None)).jobs
    assert found.queue is None
    calls = {name: figures["calls"] for name, figures in redis_server.info("commandstats").items()}
    assert calls.get("cmdstat_hgetall", 0) <= 2
    assert "cmdstat_zrank" not in calls


def test_a_stream_is_given_each_segment_once_and_in_the_order_of_time(settings: Settings, spans: RedisSpans) -> None:
    accepted, _ = submit(settings, submission())
    first = claim(spans)
    spans.prepared(
        first, [Piece(Span(a, b), (Span(a, b),)) for a, b in ((0, 5), (5, 10))], language="en", probability=1.0
    )
    second = claim(spans, "w2")

    def new(mark: tuple[int, int]) -> tuple[list[str], tuple[int, int]]:
        segments, following = ask(settings, lambda jobs: jobs.written(accepted, mark))
        return [segment.text for segment in segments], following

    spans.append(second, [Segment(6, 7, " three")], window=0, audio_s=5.0)
    spans.finish(second, TIMING)
    assert new((0, 0)) == ([], (0, 0))
    spans.append(first, [Segment(1, 2, " one")], window=0, audio_s=2.0)
    said, mark = new((0, 0))
    assert said == [" one"]
    spans.append(first, [Segment(3, 4, " two")], window=1, audio_s=5.0)
    said, mark = new(mark)
    assert said == [" two"]
    spans.finish(first, TIMING)
    said, mark = new(mark)
    assert (said, new(mark)[0]) == ([" three"], [])


def test_a_waiter_wakes_when_the_job_ends(
    settings: Settings, spans: RedisSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks again by himself: only the word of a change can wake the waiter in time.
    monkeypatch.setattr(change_feed, "MAX_SILENCE_S", 60.0)

    async def wait(jobs: RedisJobs) -> Job:
        accepted, _ = await jobs.submit(submission())
        waiting = asyncio.create_task(jobs.wait(accepted, seconds=60))
        await eventually_async(lambda: spans._client.pubsub_numsub("murmur:changed")[0][1])
        await asyncio.to_thread(complete, spans, claim(spans))
        return await asyncio.wait_for(waiting, 30)

    assert ask(settings, wait).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("status", "ended"), [(Status.COMPLETED, 5.0), (Status.FAILED, 1.0), (Status.PROCESSING, None)]
)
def test_job_of_several_parts_is_complete_with_the_last_and_fails_with_the_first(
    status: Status, ended: float | None
) -> None:
    assert job_records._ended({}, [{"completed": "1000"}, {"completed": "5000"}, {}], status) == ended


def test_job_that_can_not_be_read_spoils_nobody_else_s_look_up(settings: Settings, redis_server: Redis) -> None:
    broken, whole = (submit(settings, submission(letter * 64))[0] for letter in "ab")
    redis_server.hset(f"murmur:job:{broken.id}", "options", "no JSON")

    async def both(jobs: RedisJobs) -> list[Job | BaseException]:
        asked = (jobs.get(one.id, tenant=one.tenant) for one in (broken, whole))
        return await asyncio.gather(*asked, return_exceptions=True)

    bad, good = ask(settings, both)
    assert isinstance(bad, ValueError)
    assert isinstance(good, Job)
    assert good.id == whole.id
