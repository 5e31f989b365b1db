"""A tenant that is deleted, in memory: nothing of it stays, and nothing of anybody else goes."""

import asyncio
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.ledger_steps import TIMING, WHOLE, submission
from tests.ledger_worker import LedgerWorker
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.scripts import Scripts
from transcription.ledger.span_store import RedisSpans
from transcription.ledger.tenants.tenant_store import TenantStore
from transcription.settings import Settings
from transcription.transcript import Segment

SETTINGS = Settings(ledger={"timeout_s": 20})
GONE, STAYS = "ac[m]e*", "acme-and-more"
"""The first one's name, taken for a pattern, fits the second one's too."""

TRACES = ("open:{}", "idem:{}:k", "used:{}:20260101", "gone:{}:h", "sending:{}", "sending:{}:h", "silent:{}:h")


@pytest.fixture
def redis() -> Redis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(server_type="valkey"), decode_responses=True)


@pytest.fixture
def store(redis: Redis) -> TenantStore:
    return TenantStore(redis, SETTINGS)


def submit(redis: Any, tenant: str, letter: str) -> str:
    """A completed job of a recording of its own; its id."""

    async def run() -> str:
        server = redis.connection_pool.connection_kwargs["server"]
        jobs = RedisJobs(fakeredis.FakeAsyncRedis(server=server, decode_responses=True), SETTINGS)  # type: ignore[arg-type]
        try:
            return (await jobs.submit(replace(submission(letter * 64), tenant=tenant)))[0].id
        finally:
            await jobs.close()

    job_id = asyncio.run(run())
    worker = LedgerWorker(RedisSpans(redis, SETTINGS))
    held = worker.claim()
    worker.spans.prepared(held, [WHOLE], language="en", probability=0.9)
    worker.spans.append(held, [Segment(1.0, 2.0, " Hello.")], window=0, audio_s=10.0)
    worker.spans.finish(held, TIMING)
    return job_id


def of(redis: Redis, tenant: str) -> set[str]:
    """Every key that names a tenant."""
    return {key for key in redis.keys("murmur:*") if tenant in key.split(":")}


def test_nothing_of_a_tenant_stays_and_nothing_of_one_with_a_like_name_goes(redis: Redis, store: TenantStore) -> None:
    expired, _kept, other = submit(redis, GONE, "a"), submit(redis, GONE, "b"), submit(redis, STAYS, "c")
    redis.zadd("murmur:expiry", {expired: 1})
    assert RedisSpans(redis, SETTINGS).sweep() == 1
    for tenant in (GONE, STAYS):
        redis.hset(f"murmur:hooksecrets:{tenant}", "id", "whsec_")
        for trace in TRACES:
            if not redis.exists(key := f"murmur:{trace.format(tenant)}"):
                redis.set(key, 1)
    before, rewritten = of(redis, STAYS), []
    redis.bgrewriteaof = lambda: rewritten.append(1)  # type: ignore[method-assign]
    discarded: list[str] = []
    assert store.purge(GONE, discard=discarded.append) == 2
    assert of(redis, GONE) == set()
    assert not redis.hexists("murmur:stored", GONE)
    assert of(redis, STAYS) == before
    assert redis.exists(f"murmur:job:{other}")
    assert "b" * 64 in discarded
    assert "c" * 64 not in discarded
    assert not redis.keys("murmur:deleting:*")
    assert rewritten == [1]  # until then the server's file has all of it


def test_a_purge_goes_on_past_a_job_that_is_gone_and_a_file_that_is_being_rewritten(
    redis: Redis, store: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(redis, GONE, "a")
    redis.zadd(f"murmur:jobs:{GONE}", {"ghost": 1})
    forget, asked = store._forget, []

    def counted(*args: Any) -> None:
        asked.append(args[0])
        assert len(asked) < 10, "it asks again and again"
        forget(*args)

    def busy() -> None:
        raise ResponseError("Background append only file rewriting already in progress")

    monkeypatch.setattr(store, "_forget", counted)
    redis.bgrewriteaof = busy  # type: ignore[method-assign]
    store.purge(GONE, discard=lambda _sha256: None)
    assert of(redis, GONE) == set()
    assert "ghost" in asked


class Results:
    """A results' store that says what it has deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def delete(self, name: str) -> None:
        self.deleted.append(name)


def test_results_that_have_left_the_ledger_go_at_once(
    redis: Redis, store: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.zadd(f"murmur:jobs:{GONE}", {"job": 1})
    redis.zadd("murmur:dropped", {"aa": 1, "another": 1})

    def forget(_scripts: Scripts, _name: str, job_id: str, tenant: str) -> list[Any]:
        redis.zrem(f"murmur:jobs:{tenant}", job_id)
        return ["ok", ["aa"], "f" * 64]

    monkeypatch.setattr(Scripts, "call", forget)
    results, discarded = Results(), list[str]()
    store.purge(GONE, discard=discarded.append, results=results)  # type: ignore[arg-type]
    assert (results.deleted, discarded) == (["aa"], ["f" * 64])
    assert redis.zrange("murmur:dropped", 0, -1) == ["another"]
