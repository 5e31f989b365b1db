"""A submit: a new computation, one that is shared, a cached result, a repeated key, and who may see the job."""

import asyncio
from typing import Any

import pytest
from redis import Redis

from tests.ledger_steps import TIMING, WHOLE, ask, claim, complete, job, submission, submit
from tests.ledger_worker import MODELS
from transcription.errors import IdempotencyConflict, JobNotFound, LedgerUnavailable
from transcription.job import Job, Outcome, Status
from transcription.ledger.broker import CeleryQueue, celery_app, queue_of
from transcription.ledger.connections.clients import connect_broker
from transcription.ledger.jobs.job_reader import JobReader
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment


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


def test_another_tenant_s_job_does_not_exist(settings: Settings) -> None:
    accepted, _ = submit(settings, submission())
    for deed in ("get", "cancel", "forget"):
        with pytest.raises(JobNotFound):
            ask(settings, lambda jobs, deed=deed: getattr(jobs, deed)(accepted.id, tenant="other"))


def test_a_crowd_that_asks_for_its_place_looks_at_the_workers_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    backlog = JobReader.backlog

    async def counted(jobs: JobReader) -> Any:
        nonlocal looks
        looks += 1
        return await backlog(jobs)

    monkeypatch.setattr(JobReader, "backlog", counted)

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


def test_a_ledger_that_is_not_there_is_said_so_within_the_timeout() -> None:
    nowhere = Settings(ledger={"url": "redis://127.0.0.1:1/0"})
    with pytest.raises(LedgerUnavailable) as caught:
        ask(nowhere, lambda jobs: jobs.get("x", tenant="default"))
    assert caught.value.retry_after_s > 0
