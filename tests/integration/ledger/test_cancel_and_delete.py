"""A canceled or deleted job takes its own work away, and nobody else's."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_steps import ask, claim, complete, job, submission, submit
from tests.ledger_worker import LedgerWorker
from transcription.errors import JobFinished, JobNotFound, Stopped
from transcription.job import Outcome, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


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


def test_job_is_canceled_once(client: LedgerClient, worker: LedgerWorker) -> None:
    one = client.new()
    other, _ = client.submit()
    client.cancel(one)
    with pytest.raises(JobFinished):
        client.cancel(one)
    assert client.backlog().jobs[Status.CANCELED] == 1
    worker.work()
    with pytest.raises(JobFinished):
        client.cancel(other)


def test_forgetting_the_last_ticket_leaves_no_key_but_the_totals(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    one, _ = submit(settings, submission())
    complete(spans, claim(spans))
    two, _ = submit(settings, submission())
    ask(settings, lambda jobs: jobs.forget(one.id, tenant="default"))
    assert ask(settings, lambda jobs: jobs.transcript(two)).text == "Hello."
    unneeded = ask(settings, lambda jobs: jobs.forget(two.id, tenant="default"))
    assert unneeded == (two.audio.sha256,)
    ask(settings, lambda jobs: jobs.deleted(two.audio.sha256))
    with pytest.raises(JobNotFound):
        job(settings, two.id)
    left = {key.removeprefix("murmur:") for key in redis_server.keys("murmur:*")}
    totals = {"audit", "unneeded", "backlog", "counts", "stats", "fence", "running", "served", "config", "latencies"}
    assert left <= totals | {"schema"}
    assert all(value == "0" for value in redis_server.hgetall("murmur:counts").values())
    assert all(value == "0" for value in redis_server.hgetall("murmur:backlog").values())


def test_audio_that_another_job_needs_stays_when_a_job_is_deleted(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    one, two = client.new("a"), client.new("a", word_timestamps=True)
    assert client.forget(one) == ()
    assert spans.needed_audio(["a" * 64])
    assert client.forget(two) == ("a" * 64,)
    assert not spans.needed_audio(["a" * 64])


def test_decoded_sound_is_needed_while_there_is_work_on_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    job = client.new()
    assert spans.works_on(job.computation)
    held = worker.claim()
    assert spans.works_on(job.computation)
    worker.prepare(held)
    worker.finish(held)
    assert not spans.works_on(job.computation)
    assert not spans.works_on("unknown")
