"""How long the API waits for the ledger: by its own clock, once for each request, and never for its own lateness."""

import asyncio
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.virtual_time import busy, compute, run
from transcription.ledger.connections import fail_fast
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.connections.fail_fast import FailFastRedis, NotSent, new_patience, one_patience
from transcription.settings import Ledger


def now() -> float:
    return asyncio.get_running_loop().time()


def client() -> FailFastRedis:
    return connect_async(Ledger(url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=0.8))


async def answered(redis: FailFastRedis, after_s: float) -> float:
    """Ask something that the server answers after so long; how long that took."""
    began = now()
    async with redis.bounded():
        await asyncio.sleep(after_s)  # fine: no time passes but the loop's own
    return now() - began


async def silent(redis: FailFastRedis) -> float:
    """Ask something that is never answered; how long that took."""
    began = now()
    with pytest.raises(RedisTimeoutError):
        await answered(redis, 3600)
    return now() - began


def test_what_was_late_before_a_call_began_is_not_added_to_its_time() -> None:
    async def ask() -> None:
        redis = client()
        first = asyncio.create_task(silent(redis))
        await asyncio.sleep(0)
        busy(0.6)  # the process takes in a crowd, whose last request asks at the end of that
        assert await silent(redis) == pytest.approx(0.8, abs=0.11)
        assert await first == pytest.approx(1.4, abs=0.11)

    run(ask())


def test_time_in_which_the_process_was_busy_itself_is_not_the_ledger_s() -> None:
    async def ask() -> None:
        redis = client()
        call = asyncio.create_task(answered(redis, 0.7))
        for _ in range(10):
            await asyncio.sleep(0.01)  # fine: no time passes
            busy(0.3)
        assert await call > 0.8

    run(ask())


def test_time_that_the_process_computes_in_small_pieces_is_not_the_ledger_s_either() -> None:
    async def ask() -> None:
        redis = client()
        with one_patience():
            for _ in range(6):  # 0.3 s each, of which the ledger's are 0.1
                call = asyncio.create_task(answered(redis, 0.3))
                for _ in range(20):
                    compute(0.01)
                    await asyncio.sleep(0.001)  # fine: no time passes
                await call
            assert redis.patience_s == pytest.approx(0.2, abs=0.1)

    run(ask())


def test_the_calls_of_one_request_wait_together_as_long_as_one_may() -> None:
    async def ask() -> None:
        redis = client()
        with one_patience():
            assert await answered(redis, 0.5) == pytest.approx(0.5)
            assert await silent(redis) == pytest.approx(0.3, abs=0.1)
            with pytest.raises(NotSent):
                await answered(redis, 0.0)
        assert await answered(redis, 0.5) == pytest.approx(0.5)

    run(ask())


def test_a_request_s_own_work_between_its_calls_takes_nothing_from_them() -> None:
    async def ask() -> None:
        redis = client()
        with one_patience():
            await answered(redis, 0.5)
            await asyncio.sleep(600)  # fine: an upload, in no time
            assert await silent(redis) == pytest.approx(0.3, abs=0.1)

    run(ask())


def test_who_waits_for_a_job_has_each_look_s_whole_time() -> None:
    async def ask() -> None:
        redis = client()
        with one_patience():
            for _ in range(5):
                new_patience()
                await answered(redis, 0.7)

    run(ask())


def test_a_server_that_was_silent_is_left_alone_for_a_second_and_asked_again_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(fail_fast, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    async def ask() -> None:
        redis = client()
        await silent(redis)
        for clock[0] in (100.1, 100.9):
            with pytest.raises(NotSent, match="a moment ago"):
                await answered(redis, 0.1)
        clock[0] = 100.0 + fail_fast.SILENT_S
        assert await answered(redis, 0.1) == pytest.approx(0.1)

    run(ask())
    assert fail_fast.SILENT_S == 1.0


def test_a_slow_call_with_little_time_left_does_not_declare_the_server_silent_for_others() -> None:
    async def ask() -> None:
        redis = client()
        with one_patience():
            await answered(redis, 0.5)
            redis._answered_at = float("-inf")
            await silent(redis)
        assert await answered(redis, 0.5) == pytest.approx(0.5)

    run(ask())
