"""The ledger's scripts on a real server: every move of a job, one at a time and in a crowd."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from redis import Redis

from tests.platform import eventually_async
from transcription.computation import Claim, Timing
from transcription.errors import (
    DeadLetterNotFound,
    IdempotencyConflict,
    JobFinished,
    JobNotFound,
    LeaseLost,
    LedgerUnavailable,
    MalformedRequest,
    Stopped,
)
from transcription.job import Audio, Failure, Job, Outcome, Status, Submission
from transcription.ledger import change_feed
from transcription.ledger.broker import CeleryQueue, celery_app, queue_of
from transcription.ledger.connections import connect, connect_async, connect_broker
from transcription.ledger.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment

T = TypeVar("T")
MODELS = ("demo",)
WHOLE = Piece(Span(0, 10), (Span(1.0, 2.0), Span(6.0, 7.0)))
TIMING = Timing(audio_s=10.0, compute_s=1.0)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(ledger={"url": redis_url}, lease={"ttl_s": 0.2})


@pytest.fixture
def spans(settings: Settings) -> Iterator[RedisSpans]:
    client = connect(settings.ledger)
    yield RedisSpans(client, settings)
    client.close()


def ask(settings: Settings, question: Callable[[RedisJobs], Awaitable[T]]) -> T:
    async def run() -> T:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        try:
            return await question(jobs)
        finally:
            await jobs.close()

    return asyncio.run(run())


def submission(sha: str = "a" * 64, *, tenant: str = "default", key: str | None = None, **options: Any) -> Submission:
    return Submission(
        job_id=uuid.uuid4().hex,
        tenant=tenant,
        audio=Audio(sha256=sha, bytes=1000, duration_s=10.0, filename="talk.wav"),
        model="demo",
        revision="r1",
        options=Options(**options),
        idempotency_key=key,
    )


def submit(settings: Settings, wish: Submission) -> tuple[Job, Outcome]:
    return ask(settings, lambda jobs: jobs.submit(wish))


def job(settings: Settings, job_id: str) -> Job:
    return ask(settings, lambda jobs: jobs.get(job_id, tenant="default"))


def claim(spans: RedisSpans, worker: str = "w1", *, extras: bool = True) -> Claim:
    found = spans.claim(worker, models=MODELS, extras=extras)
    assert found is not None
    return found


def complete(spans: RedisSpans, held: Claim) -> bool:
    spans.prepared(held, [WHOLE], language="en", probability=0.9)
    spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=10.0)
    return spans.finish(held, TIMING)


def info(name: str, pid: int = 1) -> WorkerInfo:
    return WorkerInfo(
        id=name,
        models=MODELS,
        engine="stub",
        device="cpu",
        compute_type="int8",
        slots=4,
        host="h",
        pid=pid,
        started_at=1.0,
    )


def expire_leases(redis: Redis) -> None:
    for name in redis.zrange("murmur:leases", 0, -1):
        redis.zadd("murmur:leases", {name: 1})


def test_a_crowd_that_asks_for_its_place_looks_at_the_workers_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    backlog = RedisJobs.backlog

    async def counted(jobs: RedisJobs) -> Any:
        nonlocal looks
        looks += 1
        return await backlog(jobs)

    monkeypatch.setattr(RedisJobs, "backlog", counted)

    async def crowd(jobs: RedisJobs) -> list[Job]:
        return [job for job, _ in await asyncio.gather(*(jobs.submit(submission(f"{n:064}")) for n in range(20)))]

    assert all(job.queue for job in ask(settings, crowd))
    assert looks == 1


def test_hints_are_counted_in_the_broker_that_they_are_sent_to(redis_url: str, redis_server: Redis) -> None:
    apart = Settings(ledger={"url": redis_url, "broker_url": redis_url.removesuffix("/0") + "/1"})
    with connect_broker(apart.ledger) as client, celery_app(apart) as app:
        queue = CeleryQueue(app, client)
        queue.hint("demo", 3)
        assert queue.waiting("demo") == 3
    assert not redis_server.exists(queue_of("demo"))


def test_a_job_goes_from_queued_to_completed_with_its_transcript(settings: Settings, spans: RedisSpans) -> None:
    accepted, outcome = submit(settings, submission())
    assert (accepted.status, outcome) == (Status.QUEUED, Outcome.NEW)
    assert accepted.queue is not None
    assert accepted.queue.position == 0
    held = claim(spans)
    assert held.span == Span(0.0, 10.0)
    assert job(settings, accepted.id).status is Status.PROCESSING
    spans.prepared(held, [WHOLE], language="en", probability=0.9)
    spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=5.0)
    half = job(settings, accepted.id)
    assert half.progress.fraction == 0.5
    partial = ask(settings, lambda jobs: jobs.transcript(half))
    assert (partial.text, partial.complete) == ("Hello.", False)
    assert spans.finish(held, TIMING)
    done = job(settings, accepted.id)
    assert (done.status, done.progress.fraction, done.language) == (Status.COMPLETED, 1.0, "en")
    assert done.expires_at is not None
    assert ask(settings, lambda jobs: jobs.transcript(done)).complete
    assert spans.pending() == 0


def test_four_hundred_identical_submits_at_once_start_one_computation(settings: Settings, spans: RedisSpans) -> None:
    async def crowd(jobs: RedisJobs) -> list[tuple[Job, Outcome]]:
        return await asyncio.gather(*(jobs.submit(submission()) for _ in range(400)))

    patient = settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"timeout_s": 20.0})})
    answers = ask(patient, crowd)
    assert [outcome for _, outcome in answers].count(Outcome.NEW) == 1
    assert len({accepted.computation for accepted, _ in answers}) == 1
    complete(spans, claim(spans))
    assert spans.claim("w1", models=MODELS, extras=True) is None
    assert ask(settings, lambda jobs: jobs.backlog()).jobs[Status.COMPLETED] == 400


def test_a_finished_computation_answers_the_same_wish_and_no_other(settings: Settings, spans: RedisSpans) -> None:
    submit(settings, submission())
    complete(spans, claim(spans))
    again, outcome = submit(settings, submission())
    assert (again.status, outcome, again.cached) == (Status.COMPLETED, Outcome.CACHED, True)
    assert submit(settings, submission(word_timestamps=True))[1] is Outcome.NEW
    assert submit(settings, submission("b" * 64))[1] is Outcome.NEW


def test_an_idempotency_key_repeats_the_answer_and_refuses_another_payload(settings: Settings) -> None:
    first, _ = submit(settings, submission(key="k"))
    second, outcome = submit(settings, submission(key="k"))
    assert (second.id, outcome) == (first.id, Outcome.REPEATED)
    with pytest.raises(IdempotencyConflict):
        submit(settings, submission("b" * 64, key="k"))
    assert submit(settings, submission(key="k", tenant="other"))[1] is Outcome.JOINED


def test_a_stale_token_can_write_nothing(settings: Settings, spans: RedisSpans, redis_server: Redis) -> None:
    submit(settings, submission())
    old = claim(spans, "w1")
    spans.reap()
    expire_leases(redis_server)
    redis_server.hset("murmur:config", "grace", 0)
    assert spans.reap() == 1
    new = claim(spans, "w2")
    assert new.token > old.token
    for write in (
        lambda: spans.prepared(old, [WHOLE], language="en", probability=1.0),
        lambda: spans.append(old, [], window=0, audio_s=10.0),
        lambda: spans.finish(old, TIMING),
        lambda: spans.fail(old, Failure(code="x", message="x"), retry_in_s=None),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert not spans.renew([old])[old.token].held
    assert complete(spans, new)


def test_windows_that_a_lost_worker_wrote_are_not_computed_again(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    accepted, _ = submit(settings, submission())
    held = claim(spans)
    spans.prepared(held, [WHOLE], language="de", probability=0.9)
    spans.append(held, [Segment(1.0, 2.0, " Eins.")], window=0, audio_s=5.0)
    expire_leases(redis_server)
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    spans.reap()
    heir = claim(spans, "w2")
    assert (heir.windows_done, heir.language, heir.speech, heir.suspect) == (1, "de", WHOLE.speech, True)
    spans.append(heir, [Segment(1.0, 2.0, " Eins.")], window=0, audio_s=5.0)
    spans.append(heir, [Segment(6.0, 7.0, " Zwei.")], window=1, audio_s=10.0)
    spans.finish(heir, TIMING)
    done = job(settings, accepted.id)
    assert ask(settings, lambda jobs: jobs.transcript(done)).text == "Eins. Zwei."


def test_a_span_whose_every_worker_died_fails_and_becomes_a_dead_letter_that_can_be_retried(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    accepted, _ = submit(settings, submission())
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    for _ in range(settings.lease.max_attempts):
        claim(spans)
        expire_leases(redis_server)
        assert spans.reap() == 1
    failed = job(settings, accepted.id)
    assert failed.status is Status.FAILED
    assert failed.failure is not None
    assert failed.failure.code == "worker_lost"
    assert ask(settings, lambda jobs: jobs.backlog()).dead == 1
    assert submit(settings, submission())[1] is Outcome.NEW  # a failure is no cache entry
    (letter,) = ask(settings, lambda jobs: jobs.dead_letters())
    assert (letter.computation, letter.jobs, letter.attempts) == (accepted.computation, (accepted.id,), 3)
    ask(settings, lambda jobs: jobs.retry(accepted.computation))
    assert job(settings, accepted.id).status is Status.QUEUED
    with pytest.raises(DeadLetterNotFound):
        ask(settings, lambda jobs: jobs.drop(accepted.computation))
    complete(spans, claim(spans))
    assert job(settings, accepted.id).status is Status.COMPLETED


def test_neighbours_of_a_dead_process_are_run_one_at_a_time_and_lose_no_attempt(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    for letter in "abc":
        submit(settings, submission(letter * 64))
    spans.register(info("w1", pid=1))
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    first = [claim(spans) for _ in range(3)]
    assert spans.register(info("w1", pid=2)) == 3  # the same name, another process: the old one is gone
    suspect = claim(spans)
    assert (suspect.suspect, suspect.alone, suspect.attempt) == (True, False, 1)
    assert spans.claim("w1", models=MODELS, extras=True) is None  # no second suspect runs beside it
    submit(settings, submission("d" * 64))
    assert not claim(spans).suspect  # but an ordinary span does
    complete(spans, suspect)
    assert claim(spans).suspect
    assert {suspect.computation} < {held.computation for held in first}


def test_no_span_of_a_dead_process_is_blamed_because_its_lease_ended_last(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    for letter in "abc":
        submit(settings, submission(letter * 64))
    spans.register(info("w1"))
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    lost = [claim(spans) for _ in range(3)]
    for held in lost:  # the leases of one process end one after the other
        if redis_server.zscore("murmur:leases", held.name) is not None:
            redis_server.zadd("murmur:leases", {held.name: 1})
            spans.reap()
    attempts = [redis_server.hget(f"murmur:span:{held.computation}:{held.index}", "attempts") for held in lost]
    assert attempts == ["0", "0", "0"]
    assert redis_server.zcard("murmur:suspects:demo") == 3
    assert not redis_server.exists("murmur:held:w1")


def test_a_busy_worker_takes_a_suspect_beside_its_own_work(settings: Settings, spans: RedisSpans) -> None:
    submit(settings, submission("a" * 64))
    submit(settings, submission("b" * 64))
    spans.register(info("w1", pid=1))
    claim(spans)
    claim(spans)
    submit(settings, submission("c" * 64))
    claim(spans, "w2")
    spans.register(info("w1", pid=2))
    assert claim(spans, "w2").suspect
    assert claim(spans, "w3").suspect


def test_a_cancel_takes_the_last_ticket_s_work_away_and_spares_the_others(
    settings: Settings, spans: RedisSpans
) -> None:
    one, _ = submit(settings, submission())
    two, _ = submit(settings, submission())
    held = claim(spans)
    assert ask(settings, lambda jobs: jobs.cancel(one.id, tenant="default")).status is Status.CANCELED
    assert spans.renew([held])[held.token].wanted
    ask(settings, lambda jobs: jobs.cancel(two.id, tenant="default"))
    assert not spans.renew([held])[held.token].wanted
    with pytest.raises(Stopped):
        spans.append(held, [], window=0, audio_s=1.0)
    with pytest.raises(JobFinished):
        ask(settings, lambda jobs: jobs.cancel(one.id, tenant="default"))
    assert submit(settings, submission())[1] is Outcome.NEW


def test_forgetting_the_last_ticket_leaves_no_key_but_the_totals(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    one, _ = submit(settings, submission())
    complete(spans, claim(spans))
    two, _ = submit(settings, submission())
    ask(settings, lambda jobs: jobs.forget(one.id, tenant="default"))
    assert ask(settings, lambda jobs: jobs.transcript(two)).text == "Hello."
    unneeded = ask(settings, lambda jobs: jobs.forget(two.id, tenant="default"))
    assert unneeded == two.audio.sha256
    ask(settings, lambda jobs: jobs.deleted(two.audio.sha256))
    with pytest.raises(JobNotFound):
        job(settings, two.id)
    left = {key.removeprefix("murmur:") for key in redis_server.keys("murmur:*")}
    totals = {"audit", "unneeded", "backlog", "counts", "stats", "fence", "running", "served", "config", "latencies"}
    assert left <= totals | {"schema"}
    assert all(value == "0" for value in redis_server.hgetall("murmur:counts").values())
    assert all(value == "0" for value in redis_server.hgetall("murmur:backlog").values())


def test_retention_turns_a_job_into_the_word_expired_and_then_into_nothing(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    done, _ = submit(settings, submission())
    complete(spans, claim(spans))
    redis_server.zadd("murmur:expiry", {done.id: 1})
    assert spans.sweep() == 1
    assert job(settings, done.id).status is Status.EXPIRED
    assert not spans.holds_blob("a" * 64)
    assert submit(settings, submission())[1] is Outcome.NEW
    redis_server.zadd("murmur:tombs", {done.id: 1})
    spans.sweep()
    with pytest.raises(JobNotFound):
        job(settings, done.id)


def test_only_idle_workers_take_further_spans_of_a_recording(settings: Settings, spans: RedisSpans) -> None:
    accepted, _ = submit(settings, submission("a" * 64))
    held = claim(spans)
    spans.prepared(
        held, [Piece(Span(a, b), (Span(a, b),)) for a, b in ((0, 4), (4, 7), (7, 10))], language="en", probability=1.0
    )
    submit(settings, submission("b" * 64))
    assert claim(spans, "w2").audio_sha256 == "b" * 64  # a waiting recording goes before fan-out
    assert spans.claim("w2", models=MODELS, extras=False) is None
    extra = claim(spans, "w2")
    assert (extra.index, extra.span) == (1, Span(4.0, 7.0))
    spans.finish(held, TIMING)
    spans.finish(extra, TIMING)
    last = claim(spans, "w2", extras=False)  # nobody is on the recording: its next span waits among the first ones
    assert last.index == 2
    assert spans.finish(last, TIMING)
    assert job(settings, accepted.id).status is Status.COMPLETED


def test_interactive_goes_before_batch_and_the_tenant_with_least_running_goes_first(
    settings: Settings, spans: RedisSpans
) -> None:
    submit(settings, submission("a" * 64, priority="batch"))
    for letter in "bcd":
        submit(settings, submission(letter * 64, tenant="greedy"))
    submit(settings, submission("e" * 64, tenant="modest"))
    order = [claim(spans).audio_sha256[0] for _ in range(5)]
    assert order == ["b", "e", "c", "d", "a"]


def test_an_interactive_ticket_on_a_batch_computation_hurries_it(settings: Settings, spans: RedisSpans) -> None:
    submit(settings, submission("a" * 64, priority="batch"))
    submit(settings, submission("b" * 64, priority="batch"))
    assert submit(settings, submission("b" * 64))[1] is Outcome.JOINED
    assert claim(spans).audio_sha256[0] == "b"


def test_a_released_span_is_claimed_again_at_once_without_counting_an_attempt(
    settings: Settings, spans: RedisSpans
) -> None:
    submit(settings, submission())
    spans.release(claim(spans))
    assert claim(spans, "w2").attempt == 1


def test_a_failed_attempt_waits_and_is_tried_again(settings: Settings, spans: RedisSpans, redis_server: Redis) -> None:
    submit(settings, submission())
    spans.reap()
    spans.fail(claim(spans), Failure(code="engine_failed", message="boom", retryable=True), retry_in_s=60)
    assert spans.claim("w1", models=MODELS, extras=True) is None
    redis_server.zadd("murmur:delayed", {redis_server.zrange("murmur:delayed", 0, 0)[0]: 1})
    spans.reap()
    assert claim(spans).attempt == 2


def test_after_an_outage_leases_get_time_before_they_are_reaped(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    submit(settings, submission())
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    claim(spans)
    redis_server.hset("murmur:config", "reaped", 1)  # nobody reaped for a long time
    expire_leases(redis_server)
    assert spans.reap() == 0
    redis_server.hset("murmur:config", "grace", 0)
    assert spans.reap() == 1


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


def test_a_page_of_one_reads_one_job_and_looks_at_no_neighbour(settings: Settings, redis_server: Redis) -> None:
    for number in range(30):
        submit(settings, submission(f"{number:064x}"))
    redis_server.config_resetstat()
    (found,) = ask(settings, lambda jobs: jobs.list(tenant="default", status=None, limit=1, cursor=None)).jobs
    assert found.queue is None
    calls = {name: figures["calls"] for name, figures in redis_server.info("commandstats").items()}
    assert calls.get("cmdstat_hgetall", 0) <= 2
    assert "cmdstat_zrank" not in calls


def test_another_tenant_s_job_does_not_exist(settings: Settings) -> None:
    accepted, _ = submit(settings, submission())
    for deed in ("get", "cancel", "forget"):
        with pytest.raises(JobNotFound):
            ask(settings, lambda jobs, deed=deed: getattr(jobs, deed)(accepted.id, tenant="other"))


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


def test_a_ledger_that_is_not_there_is_said_so_within_the_timeout() -> None:
    nowhere = Settings(ledger={"url": "redis://127.0.0.1:1/0"})
    with pytest.raises(LedgerUnavailable) as caught:
        ask(nowhere, lambda jobs: jobs.get("x", tenant="default"))
    assert caught.value.retry_after_s > 0
