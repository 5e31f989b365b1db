"""One contract for every JobStore: the ledger, on each server and on fakeredis, and the double for tests of routes."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.ledgers import LEDGERS, beyond_fakeredis, ledger_of
from tests.memory_jobs import MemoryJobs
from transcription.errors import DeadLetterNotFound, IdempotencyConflict, JobFinished, JobNotFound
from transcription.job import Audio, Outcome, Status, Submission
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.options import Options
from transcription.ports import JobStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", *LEDGERS])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[JobStore]:
    if request.param == "memory":
        yield MemoryJobs()
        return
    ledger = ledger_of(request, request.param)
    jobs = RedisJobs(ledger.async_client(), ledger.settings)
    yield jobs
    await jobs.close()


def submission(letter: str = "a", **changes: Any) -> Submission:
    made = Submission(
        job_id=uuid.uuid4().hex,
        tenant="default",
        audio=Audio(sha256=letter * 64, bytes=10, duration_s=2.0, filename="a.wav"),
        model="demo",
        revision="1",
        options=Options(language="en"),
    )
    return replace(made, **changes)


async def test_an_accepted_job_waits_and_can_be_looked_up_by_its_tenant_alone(store: JobStore) -> None:
    one = submission()
    job, outcome = await store.submit(one)
    assert (job.id, job.status, outcome) == (one.job_id, Status.QUEUED, Outcome.NEW)
    assert job.queue is not None
    assert (await store.get(job.id, tenant="default")).audio == one.audio
    with pytest.raises(JobNotFound):
        await store.get(job.id, tenant="other")
    with pytest.raises(JobNotFound):
        await store.get("nobody", tenant="default")


async def test_an_idempotency_key_gives_the_same_job_for_the_same_payload_and_refuses_another(store: JobStore) -> None:
    first, _ = await store.submit(submission(idempotency_key="k"))
    again, outcome = await store.submit(submission(idempotency_key="k"))
    assert (again.id, outcome) == (first.id, Outcome.REPEATED)
    assert await store.knows("k", tenant=first.tenant)
    assert not await store.knows("other", tenant=first.tenant)
    with pytest.raises(IdempotencyConflict):
        await store.submit(submission("b", idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):  # of the same computation, but not the same job
        await store.submit(submission(idempotency_key="k", options=Options(language="en", ttl_s=600)))


async def test_jobs_are_listed_newest_first_page_by_page(store: JobStore) -> None:
    made = []
    for letter in "abcde":
        made.append((await store.submit(submission(letter)))[0].id)
        await asyncio.sleep(0.002)  # fine: the ledger tells jobs of one millisecond apart by their ids
    await store.submit(submission("f", tenant="other"))
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = await store.list(tenant="default", status=None, limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == made[::-1]
    assert not (await store.list(tenant="default", status=Status.COMPLETED, limit=2, cursor=None)).jobs


async def test_a_canceled_job_has_ended_and_cannot_be_canceled_again(store: JobStore) -> None:
    job, _ = await store.submit(submission())
    canceled = await store.cancel(job.id, tenant="default")
    assert canceled.status is Status.CANCELED
    assert canceled.completed_at is not None
    assert canceled.queue is None
    with pytest.raises(JobFinished):
        await store.cancel(job.id, tenant="default")
    with pytest.raises(JobNotFound):
        await store.cancel(job.id, tenant="other")


async def test_a_deleted_job_is_gone_and_gives_up_its_audio(store: JobStore) -> None:
    job, _ = await store.submit(submission())
    assert await store.forget(job.id, tenant="default") == ("a" * 64,)
    with pytest.raises(JobNotFound):
        await store.get(job.id, tenant="default")
    with pytest.raises(JobNotFound):
        await store.forget(job.id, tenant="default")


async def test_waiting_returns_at_the_end_or_when_the_time_is_over(store: JobStore) -> None:
    job, _ = await store.submit(submission())
    assert (await store.wait(job, seconds=0.05)).status is Status.QUEUED
    waiting = asyncio.create_task(store.wait(job, seconds=20))
    await asyncio.sleep(0.05)  # fine: sooner is as good, only less telling
    await store.cancel(job.id, tenant="default")
    assert (await asyncio.wait_for(waiting, 10)).status is Status.CANCELED


@beyond_fakeredis("store")
async def test_figures_count_what_waits(store: JobStore) -> None:
    await store.submit(submission())
    backlog = await store.backlog()
    assert backlog.pending_spans == 1
    assert backlog.jobs[Status.QUEUED] == 1
    assert not (await store.server()).evicts


async def test_dead_letter_that_is_not_there_can_be_neither_shown_nor_retried_nor_dropped(store: JobStore) -> None:
    assert await store.dead_letters() == ()
    for deed in (store.dead_letter, store.retry, store.drop):
        with pytest.raises(DeadLetterNotFound):
            await deed("nobody")
