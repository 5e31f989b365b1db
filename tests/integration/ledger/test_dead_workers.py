"""Whose fault a worker's death is: one span alone is charged, neighbours never."""

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_steps import ask, claim, complete, expire_leases, info, job, submission, submit
from tests.ledger_worker import MODELS, LedgerWorker, dies, nothing_for
from transcription.errors import DeadLetterNotFound
from transcription.job import Outcome, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


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


def test_lonely_span_of_a_dead_process_is_charged_until_it_is_a_dead_letter(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    job = client.new()
    for attempt in (1, 2, 3):
        held = worker.claim()
        assert (held.attempt, held.suspect, held.alone) == (attempt, attempt > 1, attempt == 3)
        worker = dies(worker)
    failed = client.get(job)
    assert failed.failure is not None
    assert (failed.status, failed.failure.code, failed.failure.retryable) == (Status.FAILED, "worker_lost", True)
    assert [letter.computation for letter in client.letters()] == [job.computation]
    assert nothing_for(worker)


def test_neighbours_of_a_dead_process_are_never_charged(client: LedgerClient, worker: LedgerWorker) -> None:
    for letter in "abc":
        client.new(letter)
    claims = [worker.claim() for _ in "abc"]
    worker = dies(worker)
    for _ in claims:
        suspect = worker.claim()
        assert (suspect.suspect, suspect.alone, suspect.attempt) == (True, False, 1)
        assert nothing_for(worker)
        worker.finish(suspect)
    client.new("d")
    assert not worker.claim().suspect


def test_suspect_is_charged_and_its_good_neighbours_come_back_as_they_were(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter in "ab":
        client.new(letter)
    for _ in "ab":
        worker.claim()
    worker = dies(worker)
    for letter in "cd":
        client.new(letter)
    taken = [worker.claim() for _ in "acd"]
    assert [held.suspect for held in taken] == [True, False, False]
    one = taken[0].audio_sha256[0]
    (other,) = {"a", "b"} - {one}
    worker = dies(worker)
    again = [worker.claim() for _ in "bcd"]
    assert {held.audio_sha256[0]: held.suspect for held in again} == {other: True, "c": False, "d": False}
    assert {held.attempt for held in again} == {1}
    worker.finish(again[0])
    charged = worker.claim()
    assert (charged.audio_sha256[0], charged.suspect, charged.alone, charged.attempt) == (one, True, False, 2)


def test_suspect_that_comes_past_its_crash_is_one_no_more_and_must_come_further_after_each(
    client: LedgerClient, worker: LedgerWorker, redis_server: Redis
) -> None:
    client.new("a")
    held = worker.claim()
    worker.prepare(held, (600.0,))
    for neighbour, windows in zip("bcd", (1, 4, 16), strict=True):
        client.new(neighbour)
        worker.claim()
        worker = dies(worker)
        while (held := worker.claim()).audio_sha256[0] != "a":
            worker.finish(held)
        assert held.suspect
        for window in range(held.windows_done, held.windows_done + windows):
            assert redis_server.exists("murmur:suspect:w1")
            worker.write(held, window, " word", audio_s=1.0 + window)
        assert not redis_server.exists("murmur:suspect:w1")
        spans_left = worker.spans.claim(worker.name, models=("demo",), extras=True)
        if spans_left:
            worker.finish(spans_left)
    assert held.attempt == 1
