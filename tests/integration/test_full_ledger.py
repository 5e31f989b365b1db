"""A ledger whose memory is used up frees itself: nothing that frees, renews, commits or cancels is refused."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from tests import audio_files
from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.platform import eventually, running_ledger
from transcription.errors import LedgerUnavailable
from transcription.housekeeping.maintenance import Maintenance
from transcription.job import Status
from transcription.ledger.broker import CeleryQueue
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Retention, Settings
from transcription.storage.disk import DiskBlobs

ROOM = 256 << 20


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with running_ledger(tmp_path / "ledger") as server:
        yield api_settings(server.url, tmp_path)


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with connect(settings.ledger) as client:
        yield client


@pytest.fixture
def spans(redis: Redis, settings: Settings) -> RedisSpans:
    return RedisSpans(redis, settings)


def fill(redis: Redis) -> None:
    """Let the server's memory be used up; again where connections' buffers have given some back just then."""

    def is_full() -> bool:
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 1000)
        try:
            redis.set("one", "more")
        except OutOfMemoryError:
            return True
        return False

    eventually(is_full)


def test_running_work_ends_and_jobs_are_canceled_and_deleted_while_memory_is_used_up(
    settings: Settings, redis: Redis, spans: RedisSpans
) -> None:
    client, worker = LedgerClient(settings), LedgerWorker(spans)
    running, waiting, canceled, deleted = (client.new(letter) for letter in "abcd")
    held = worker.claim()
    fill(redis)
    LedgerWorker(spans)  # it says that it lives
    assert spans.renew([held])[held.token].held
    worker.prepare(held)
    worker.write(held, 0, " words", audio_s=10.0)
    worker.finish(held)
    client.cancel(canceled)
    client.forget(deleted)
    assert spans.lock("sweep", seconds=60)
    spans.reap()
    spans.release(worker.claim())
    assert client.status(running) is Status.COMPLETED
    assert client.status(waiting) is Status.PROCESSING
    with pytest.raises(LedgerUnavailable):
        client.submit("e")


def test_sweep_goes_on_until_nothing_is_due_and_frees_the_server(
    settings: Settings, redis: Redis, spans: RedisSpans
) -> None:
    client, worker = LedgerClient(settings), LedgerWorker(spans)
    client.new("a")
    worker.work(" word" * 2000)
    before = redis.info("memory")["used_memory"]
    # Two thousand finished jobs with a result each, as an hour of a busy platform leaves them.
    job, computation = redis.keys("murmur:job:*")[0], redis.keys("murmur:comp:*")
    (computation,) = (key for key in computation if key.count(":") == 2)
    ticket, comp, text = (
        redis.hgetall(job),
        redis.hgetall(computation),
        redis.lrange(redis.keys("murmur:segs:*")[0], 0, -1),
    )
    pipe = redis.pipeline(transaction=False)
    for number in range(2000):
        name, cid = f"j{number}", f"c{number}"
        pipe.hset(f"murmur:job:{name}", mapping={**ticket, "id": name, "comp": cid})
        pipe.hset(f"murmur:comp:{cid}", mapping={**comp, "id": cid, "fingerprint": cid})
        pipe.sadd(f"murmur:comp:{cid}:jobs", name)
        pipe.rpush(f"murmur:segs:{cid}:0", *text)
        pipe.zadd("murmur:expiry", {name: 1})
        pipe.hincrby("murmur:counts", "completed", 1)
    pipe.execute()
    fill(redis)
    queue = CeleryQueue.__new__(CeleryQueue)
    Maintenance(spans, queue, DiskBlobs(settings.blob_dir), settings).sweep()
    assert redis.zcount("murmur:expiry", "-inf", 2) == 0
    assert redis.hget("murmur:counts", "completed") == "1"
    assert redis.info("memory")["used_memory"] < before + (4 << 20)
    redis.set("one", "more")


def test_submits_are_refused_below_the_limit_so_that_the_rest_is_for_accepted_jobs(
    settings: Settings, redis: Redis, spans: RedisSpans
) -> None:
    worker = LedgerWorker(spans)
    with live_api(settings) as api:
        job = handed_in(api)
        # So much that what connections and logs take for a moment is no part of the last twentieth.
        redis.setrange("ballast", (64 << 20) - 1, b"x")
        used = redis.info("memory")["used_memory"]
        redis.config_set("maxmemory", int(used * 1.05))  # 95 % are used
        refused = eventually(lambda: (answer := submit(api)).status_code == 503 and answer, 30, every_s=0.2)
        assert refused.json()["code"] == "ledger_full"
        assert "MURMUR_LIMITS__MAX_LEDGER_PERCENT" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        ready = api.get("/health/ready")
        assert (ready.status_code, ready.json()["ledger_full"]) == (503, True)
        worker.work()
        assert api.get(f"/v1/jobs/{job}").json()["status"] == "completed"
        assert api.delete(f"/v1/jobs/{job}").status_code == 204
        redis.config_set("maxmemory", ROOM)
        eventually(lambda: submit(api).status_code == 202, 30, every_s=0.2)
        eventually(lambda: not api.get("/health/ready").json()["ledger_full"], 30, every_s=0.2)


def submit(api: httpx.Client) -> httpx.Response:
    return api.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(1.0 + time.monotonic() % 1))})


def handed_in(api: httpx.Client) -> str:
    answer = submit(api)
    assert answer.status_code == 202
    return str(answer.json()["id"])


def test_shorter_retention_holds_for_what_is_kept_already_but_not_for_jobs_that_asked_for_their_own(
    settings: Settings, redis: Redis, spans: RedisSpans
) -> None:
    client, worker = LedgerClient(settings), LedgerWorker(spans)
    spans.sweep()
    kept, own, running = client.new("a"), client.new("b", ttl_s=7200), client.new("c")
    worker.work()
    worker.work()
    shorter = settings.model_copy(update={"retention": Retention(result_ttl_s=60)})
    swept = RedisSpans(redis, shorter)
    while swept.sweep():
        pass
    worker.work()  # it was accepted under the longer one, and ends under the shorter
    for job, ttl_s in ((kept, 60), (own, 7200), (running, 60)):
        seen = client.get(job)
        assert seen.expires_at is not None
        assert seen.completed_at is not None
        assert seen.expires_at - seen.completed_at == pytest.approx(ttl_s)
        due = redis.zscore("murmur:expiry", job.id)
        assert due == pytest.approx(seen.expires_at * 1000, abs=2)


def test_shorter_retention_reaches_all_of_many_jobs(redis: Redis, settings: Settings, spans: RedisSpans) -> None:
    client, worker = LedgerClient(settings), LedgerWorker(spans)
    spans.sweep()
    job = client.new("a")
    worker.work()
    ticket, now = redis.hgetall(f"murmur:job:{job.id}"), time.time() * 1000
    pipe = redis.pipeline(transaction=False)
    for number in range(1300):
        pipe.hset(f"murmur:job:j{number}", mapping={**ticket, "id": f"j{number}"})
        pipe.zadd("murmur:expiry", {f"j{number}": now + 86_400_000 + number % 7})
    pipe.execute()
    swept = RedisSpans(redis, settings.model_copy(update={"retention": Retention(result_ttl_s=60)}))
    while swept.sweep():
        pass
    assert redis.zcount("murmur:expiry", now + 61_000, "+inf") == 0
