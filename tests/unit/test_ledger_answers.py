"""The ledger's own answer time apart from the process's lag: a slow machine must not look like a slow ledger."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis import ConnectionPool
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.metrics.ledger_answers import TICK_S, LedgerAnswers
from tests.platform import running_ledger
from tests.virtual_time import busy, run
from transcription.ledger.connections import shared_connection
from transcription.ledger.connections.answer_times import BOUNDS_S, AnswerTimes
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.connections.fail_fast import FailFastRedis, NotSent
from transcription.settings import Ledger


class Measured:
    """A client whose answers are scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.figures = LedgerAnswers(self.registry)
        settings = Ledger(url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=0.8)
        self.redis: FailFastRedis = connect_async(settings, self.figures.times)

    def value(self, name: str, le: str = "") -> float:
        self.figures.flush()
        return self.registry.get_sample_value(f"murmur_{name}", {"le": le} if le else {}) or 0.0

    async def ask(self, after_s: float) -> None:
        """Ask something that the server answers after so long."""
        async with self.redis.bounded():
            await asyncio.sleep(after_s)  # fine: no time passes but the loop's own


def test_a_slow_ledger_shows_in_its_answers_and_not_as_lag() -> None:
    async def slow() -> None:
        measured = Measured()
        measured.figures.start()
        await measured.ask(0.7)
        await asyncio.sleep(TICK_S)  # fine: no time passes
        assert measured.value("ledger_answer_duration_seconds_sum") == pytest.approx(0.7)
        assert measured.value("ledger_answer_duration_seconds_bucket", "0.5") == 0
        assert measured.value("ledger_answer_duration_seconds_bucket", "1.0") == 1
        assert measured.value("event_loop_lag_seconds_count") >= 3
        assert measured.value("event_loop_lag_seconds_sum") == pytest.approx(0.0, abs=1e-6)

    run(slow())


def test_a_slow_machine_shows_as_lag_and_not_in_the_ledger_s_answers() -> None:
    async def slow() -> None:
        measured = Measured()
        measured.figures.start()
        call = asyncio.create_task(measured.ask(0.01))
        await asyncio.sleep(0)
        busy(2.0)  # the answer is there, and nobody looks
        await call
        await asyncio.sleep(TICK_S)  # fine: no time passes
        assert measured.value("ledger_answer_duration_seconds_count") == 1
        assert measured.value("ledger_answer_duration_seconds_sum") < 0.1
        assert measured.value("event_loop_lag_seconds_sum") == pytest.approx(2.0 - TICK_S, abs=0.05)

    run(slow())


def test_a_wait_that_was_given_up_counts_and_one_that_never_began_does_not() -> None:
    async def silent() -> None:
        measured = Measured()
        with pytest.raises(RedisTimeoutError):
            await measured.ask(3600)
        with pytest.raises(NotSent):
            await measured.ask(0.0)
        assert measured.value("ledger_answer_duration_seconds_count") == 1
        assert measured.value("ledger_answer_duration_seconds_sum") == pytest.approx(0.8, abs=0.11)

    run(silent())


def test_what_is_taken_away_is_counted_once() -> None:
    times = AnswerTimes()
    times.add(BOUNDS_S[0])
    times.add(1000.0)
    counts, seconds = times.take()
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)
    assert seconds == 1000.0 + BOUNDS_S[0]
    assert times.take() == ([0] * (len(BOUNDS_S) + 1), 0.0)


def test_a_thread_s_wait_for_the_connection_that_others_use_is_not_the_ledger_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, answers = [0.0], list[float]()
    monkeypatch.setattr(shared_connection, "monotonic", lambda: clock[0])
    monkeypatch.setattr(shared_connection, "_pools", {})
    with running_ledger(tmp_path) as server:
        client = shared_connection.shared_client(server.url, answered=answers.append)
        held = client.connection_pool.get_connection()
        other = threading.Thread(target=client.ping)
        other.start()
        clock[0] = 5.0
        client.connection_pool.release(held)
        other.join(timeout=30)
        assert answers == [5.0, 0.0]
        client.connection_pool.disconnect()


def test_threads_share_as_many_connections_as_their_number_needs_and_one_that_has_one_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_connection, "_pools", {})
    monkeypatch.setattr(shared_connection, "_connections", 1)
    shared_connection.shared_by(2 * shared_connection.THREADS)
    held, free = threading.Barrier(3), threading.Event()
    with running_ledger(tmp_path) as server, ThreadPoolExecutor(3) as threads:
        pool = shared_connection.shared_client(server.url).connection_pool

        def use() -> tuple[Any, Any]:
            first = pool.get_connection()
            second = pool.get_connection()
            held.wait(30)
            free.wait(30)
            pool.release(second)
            pool.release(first)
            return first, second

        using = [threads.submit(use) for _ in range(2)]
        held.wait(30)  # two threads have a connection, and another one each, at the same time
        late = threads.submit(lambda: pool.release(pool.get_connection()))
        assert not wait([late], timeout=0.3).done
        free.set()
        late.result(30)
        assert len({id(connection) for one in using for connection in one.result(30)}) == 4
        pool.disconnect()


def test_a_thread_s_second_connection_is_closed_before_another_thread_can_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back, release = list[bool](), ConnectionPool.release

    def seen(self: ConnectionPool, connection: Any) -> None:
        given_back.append(connection.is_connected)
        release(self, connection)

    monkeypatch.setattr(shared_connection, "_pools", {})
    with running_ledger(tmp_path) as server:
        pool = shared_connection.shared_client(server.url).connection_pool
        first, second = pool.get_connection(), pool.get_connection()
        monkeypatch.setattr(ConnectionPool, "release", seen)
        pool.release(second)
        pool.release(first)
        assert given_back == [False, True]
        pool.disconnect()


@pytest.mark.parametrize(("threads", "connections"), [(1, 1), (8, 1), (63, 1), (64, 2), (128, 4)])
def test_a_few_threads_share_one_connection(monkeypatch: pytest.MonkeyPatch, threads: int, connections: int) -> None:
    monkeypatch.setattr(shared_connection, "_connections", 1)
    shared_connection.shared_by(threads)
    assert shared_connection._connections == connections
