"""What the job store tells a client while the ledger or the results' store is away: in memory, with no server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.ledger_steps import submission
from transcription.errors import LedgerFault, LedgerTooNew, LedgerUnavailable, OutcomeUnknown, StorageUnavailable
from transcription.job import Status
from transcription.ledger.connections.fail_fast import NotSent
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.scripts import Scripts
from transcription.settings import Settings

pytestmark = pytest.mark.anyio

TAKEN_OVER = ResponseError("LEDGERTOONEW 9 8", status_code="LEDGERTOONEW")
AWAY = RedisConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")


@dataclass
class Results:
    """A results' store that can't delete some, and says which it has deleted."""

    broken: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)

    def delete(self, name: str) -> None:
        if name in self.broken:
            raise StorageUnavailable("the share is away", retry_after_s=1)
        self.deleted.append(name)


@dataclass
class Site:
    """A job store on a ledger in memory, whose next calls can be made to fail."""

    jobs: RedisJobs
    redis: Any
    results: Results
    script: Callable[..., Any] | None = None


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="valkey"), decode_responses=True)
    results = Results()
    jobs = RedisJobs(redis, Settings(ledger={"timeout_s": 20}), results=results)  # type: ignore[arg-type]
    made = Site(jobs, redis, results)
    call = Scripts.call

    def called(scripts: Scripts, name: str, *args: Any, **how: Any) -> Any:
        return made.script(name) if made.script else call(scripts, name, *args, **how)

    monkeypatch.setattr(Scripts, "call", called)
    yield made
    await jobs.close()


def raising(error: Exception) -> Callable[..., Any]:
    def call(_name: str) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotSent("the server gave no answer a moment ago"), LedgerUnavailable),
        (AWAY, LedgerUnavailable),
        (ResponseError("MISCONF can't write", status_code="MISCONF"), LedgerUnavailable),
        (ResponseError("user_script:1: a defect", status_code="ERR"), LedgerFault),
        (TAKEN_OVER, LedgerTooNew),
        (RedisTimeoutError("no answer within 2 s"), OutcomeUnknown),
        (RedisConnectionError("Connection closed by server."), OutcomeUnknown),
    ],
    ids=["not sent", "refused", "can't write", "defect", "newer release", "no answer", "cut"],
)
async def test_a_submit_that_certainly_failed_says_so_and_only_one_without_an_answer_is_unknown(
    site: Site, error: Exception, told: type[Exception]
) -> None:
    site.script = raising(error)
    with pytest.raises((LedgerUnavailable, LedgerFault, OutcomeUnknown)) as refused:
        await site.jobs.submit(submission())
    assert refused.type is told


async def test_a_key_whose_job_is_gone_is_not_known(site: Site) -> None:
    job, _ = await site.jobs.submit(submission(key="k"))
    assert await site.jobs.knows("k", tenant="default")
    assert not await site.jobs.knows("k", tenant="other")
    await site.redis.delete(f"murmur:job:{job.id}")
    assert await site.redis.exists("murmur:idem:default:k")
    assert not await site.jobs.knows("k", tenant="default")


@pytest.mark.parametrize("broken", [set(), {"bb"}], ids=["there", "away"])
async def test_a_deletion_succeeds_while_the_results_store_is_away_and_leaves_the_result_to_maintenance(
    site: Site, broken: set[str]
) -> None:
    async def forgotten() -> list[Any]:
        return ["ok", ["aa", "bb"], "f" * 64]

    await site.redis.zadd("murmur:dropped", {"aa": 1, "bb": 1, "another": 1})
    site.results.broken, site.script = broken, lambda _name: forgotten()
    assert await site.jobs.forget("job", tenant="default") == ("f" * 64,)
    assert site.results.deleted == (["aa"] if broken else ["aa", "bb"])
    left = set(await site.redis.zrange("murmur:dropped", 0, -1))
    assert left - {"aa"} == broken | {"another"}
    assert "aa" not in left or broken


@pytest.mark.parametrize("error", [AWAY, TAKEN_OVER], ids=["outage", "takeover"])
async def test_a_wait_outlasts_a_ledger_that_is_away_and_gives_the_job_as_last_seen(
    site: Site, error: Exception
) -> None:
    job, _ = await site.jobs.submit(submission())
    site.script = raising(error)
    assert await asyncio.wait_for(site.jobs.wait(job, seconds=0.05), 30) == job


async def test_a_wait_that_is_over_says_where_in_the_queue_the_job_is(site: Site) -> None:
    await site.jobs.submit(submission())
    job, _ = await site.jobs.submit(submission("b" * 64))
    waited = await site.jobs.wait(job, seconds=0.05)
    assert waited.status is Status.QUEUED
    assert waited.queue is not None
    assert waited.queue.position == 1
