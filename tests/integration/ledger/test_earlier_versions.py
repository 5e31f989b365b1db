"""A ledger that an earlier version wrote is served by this one; one that a newer version wrote is left alone."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.integration.ledger.test_random_moves import Books
from tests.ledger_steps import ask
from tests.ledger_worker import LedgerWorker
from tests.ledgers.write import dump
from tests.live_api import api_settings, live_api
from tests.platform import eventually
from transcription.errors import LedgerTooNew
from transcription.job import Audio, Job, Outcome, Submission
from transcription.ledger.connections.clients import connect
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.settings import Lease, Settings

LEDGERS = Path(__file__).parents[2] / "ledgers"
TODAY = 4
TIME = re.compile(r"\b179\d{10}\b")


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    lease = Lease(ttl_s=0.2)
    return api_settings(redis_url, tmp_path).model_copy(update={"lease": lease})


@pytest.fixture(params=["form1.json", "form2.json", "form3.json"])
def earlier(redis_server: Redis, request: pytest.FixtureRequest) -> str:
    """A ledger of an earlier version with a job in every state: that of the first commit that has a worker, and later
    ones that have suspects too."""
    load(redis_server, json.loads(of_a_minute_ago((LEDGERS / str(request.param)).read_text("utf-8"))))
    return str(request.param)


@pytest.fixture
def spans(settings: Settings) -> Iterator[RedisSpans]:
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


def of_a_minute_ago(ledger: str) -> str:
    """*ledger* with every time, in milliseconds, as if it had been written then: nothing that it keeps has ended."""
    written = min(map(int, TIME.findall(ledger)))
    later = round(time.time() * 1000) - 60_000 - written
    return TIME.sub(lambda found: str(int(found[0]) + later), ledger)


def load(redis: Redis, keys: dict[str, Any]) -> None:
    for key, row in keys.items():
        value = row["value"]
        if row["type"] == "string":
            redis.set(key, value)
        elif row["type"] == "hash":
            redis.hset(key, mapping=value)
        elif row["type"] == "set":
            redis.sadd(key, *value)
        elif row["type"] == "list":
            redis.rpush(key, *value)
        elif row["type"] == "zset":
            redis.zadd(key, dict(value))
        else:
            for entry, fields in value:
                redis.xadd(key, fields, id=entry)
        if row["ttl"] > 0:
            redis.pexpire(key, row["ttl"])
    assert {key: row["value"] for key, row in json.loads(json.dumps(dump(redis))).items()} == {
        key: row["value"] for key, row in keys.items()
    }


def submission(key: str | None = None) -> Submission:
    """What was handed in as `completed` to the earlier version."""
    return Submission(
        job_id="again",
        tenant="default",
        audio=Audio(sha256=b"completed".hex().ljust(64, "0"), bytes=1000, duration_s=10.0, filename="completed.wav"),
        model="demo",
        revision="r1",
        options=Options(),
        idempotency_key=key,
    )


def statuses(settings: Settings) -> dict[str, str]:
    async def both(jobs: RedisJobs) -> tuple[Job, ...]:
        pages = [await jobs.list(tenant=tenant, status=None, limit=50, cursor=None) for tenant in ("default", "acme")]
        return (*pages[0].jobs, *pages[1].jobs)

    return {job.id: job.status.value for job in ask(settings, both)}


@pytest.mark.usefixtures("earlier")
def test_results_of_an_earlier_version_are_kept_and_answer_for_the_same_work(
    settings: Settings, redis_server: Redis
) -> None:
    with live_api(settings) as api:
        assert api.get("/v1/jobs/completed/result?format=text").text == "Hello there.\nGood-bye.\n"
        assert api.get("/v1/jobs/failed").json()["error"]["code"] == "engine_failed"
        events = api.get("/v1/jobs/completed/events").text
        assert "Hello there." in events
        assert "event: done" in events
    assert ask(settings, lambda jobs: jobs.submit(submission("key-1")))[1] is Outcome.REPEATED
    assert ask(settings, lambda jobs: jobs.submit(submission()))[1] is Outcome.CACHED
    assert redis_server.get("murmur:schema") == str(TODAY)


@pytest.mark.usefixtures("earlier")
def test_all_that_waits_and_runs_is_where_this_version_looks_for_it(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    statuses(settings)
    books = Books(redis_server)
    books.every_span_is_in_exactly_one_place()
    books.queues_are_found_by_what_waits_in_them()
    books.totals_are_what_they_total()
    done = redis_server.zrange("murmur:finished", 0, -1)
    assert done == [redis_server.hget("murmur:job:completed", "comp")]
    assert spans.whole(done[0]) is not None


def test_every_job_that_an_earlier_version_accepted_is_worked_off(
    settings: Settings, spans: RedisSpans, earlier: str
) -> None:
    suspects = ("suspect-one", "suspect-two") if earlier != "form1.json" else ()
    before = {
        "completed": "completed",
        "failed": "failed",
        "canceled": "canceled",
        "delayed": "processing",
        "processing": "processing",
        "queued": "queued",
        "queued-batch": "queued",
    }
    if suspects:  # the worker that died had one of them and another job in work
        before |= {"suspect-one": "processing", "suspect-two": "queued", "queued": "processing"}
    assert statuses(settings) == before
    (letter,) = ask(settings, lambda jobs: jobs.dead_letters())
    ask(settings, lambda jobs: jobs.retry(letter.computation))
    # The lease that an earlier worker left, and the delay of a second attempt, have run out since.
    eventually(lambda: (spans.reap(), spans.pending())[1] == 7 + len(suspects))
    worker = LedgerWorker(spans, "w2")
    taken = []
    while spans.pending():
        claim = worker.claim()
        taken.append((claim.filename, claim.index, claim.windows_done))
        if claim.speech is None:
            worker.prepare(claim)
        worker.write(claim, claim.windows_done, f" {claim.filename} {claim.index}", audio_s=10.0)
        worker.finish(claim)
    assert ("processing.wav", 0, 1) in taken
    assert statuses(settings) == before | dict.fromkeys(
        ("failed", "delayed", "processing", "queued", "queued-batch", *suspects), "completed"
    )
    job = ask(settings, lambda jobs: jobs.get("processing", tenant="default"))
    text = [segment.text for segment in ask(settings, lambda jobs: jobs.transcript(job)).segments]
    assert text == [" written before", *(f" processing.wav {index}" for index in range(3))]
    assert ask(settings, lambda jobs: jobs.backlog()).pending_audio_s == 0


def test_a_ledger_of_a_newer_version_is_refused_by_api_and_worker_and_stays_as_it_is(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    ask(settings, lambda jobs: jobs.submit(submission()))
    assert redis_server.get("murmur:schema") == str(TODAY)
    worker = LedgerWorker(spans)
    held = worker.claim()
    redis_server.set("murmur:schema", TODAY + 1)
    before = dump(redis_server)
    with live_api(settings) as api:
        answer = api.get("/v1/jobs/again")
        assert (answer.status_code, answer.json()["code"]) == (503, "ledger_too_new")
        assert "schema version 5" in answer.json()["detail"]
        assert "up to 4" in answer.json()["detail"]
        assert health(api) == (503, "unavailable")
    for step in (
        worker.claim,
        lambda: worker.write(held, 0, " too late", audio_s=10.0),
        lambda: spans.renew([held]),
        lambda: spans.release(held),
        lambda: LedgerWorker(spans, "w2"),
    ):
        with pytest.raises(LedgerTooNew):
            step()
    assert dump(redis_server) == before


def test_who_waits_while_the_next_release_takes_over_gets_the_job_as_it_was_last_seen(
    settings: Settings, redis_server: Redis
) -> None:
    ask(settings, lambda jobs: jobs.submit(submission()))
    answers: list[httpx.Response] = []
    with live_api(settings) as api:
        assert api.get("/v1/jobs/again").is_success
        waits = threading.Thread(target=lambda: answers.append(api.get("/v1/jobs/again?wait=2")))
        waits.start()
        eventually(lambda: redis_server.pubsub_numsub("murmur:changed")[0][1])
        redis_server.set("murmur:schema", TODAY + 1)
        waits.join(20)
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "queued")]


def health(api: httpx.Client) -> tuple[int, str]:
    answer = api.get("/health")
    return answer.status_code, answer.json()["status"]
