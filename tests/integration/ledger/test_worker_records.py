"""Workers in the ledger: how long each is known, and what it leaves."""

from dataclasses import replace

from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from transcription.ledger.span_store import RedisSpans


def test_worker_counts_while_its_heartbeats_come_and_is_forgotten_after_an_hour(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    assert [one.id for one in client.backlog().workers] == ["w1"]
    ledger_clock.advance(14)
    assert [one.id for one in client.backlog().workers] == ["w1"]
    ledger_clock.advance(3)
    assert client.backlog().workers == ()
    ledger_clock.advance(3500)
    spans.sweep()
    assert redis_server.exists("murmur:worker:w1")
    ledger_clock.advance(120)
    spans.sweep()
    assert not redis_server.exists("murmur:worker:w1", "murmur:workers")


def test_silent_worker_that_holds_a_span_is_not_forgotten(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    client.new()
    worker.claim()
    ledger_clock.advance(7200)
    spans.sweep()
    # What it held comes back when a process of its name starts: for that it must be known.
    assert redis_server.exists("murmur:worker:w1")


def test_departed_worker_leaves_nothing(worker: LedgerWorker, spans: RedisSpans, redis_server: Redis) -> None:
    spans.depart(worker.info)
    assert not redis_server.exists("murmur:worker:w1", "murmur:workers")


def test_process_that_stops_takes_nothing_from_a_living_one_of_its_name(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    client.new()
    held = worker.claim()
    spans.depart(replace(worker.info, pid=77, host="elsewhere"))
    assert [one.id for one in client.backlog().workers] == ["w1"]
    assert spans.register(worker.info) == 0
    assert spans.renew([held])[held.token].held


def test_lock_is_one_worker_s_for_its_time(spans: RedisSpans, ledger_clock: LedgerClock) -> None:
    assert spans.lock("x", seconds=60)
    assert not spans.lock("x", seconds=60)
    assert spans.lock("y", seconds=60)
    ledger_clock.advance(58)
    assert not spans.lock("x", seconds=60)
    ledger_clock.advance(4)
    assert spans.lock("x", seconds=60)
