"""A client of Redis that waits for a silent server once, however many ask, and for a slow one once for each request."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from time import thread_time
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from transcription.ledger.connections.answer_times import AnswerTimes

TICK_S = 0.05
LONGEST_S = 10.0
"""Longest that a command may take, however late its process is."""

SILENT_S = 1.0
"""How long a failure stands for the next ones."""

LEAST_SHARE = 0.2
"""Of the time that one command may take, what must be left of a request's for its next one."""


class NotSent(RedisConnectionError):
    """The command was never sent, because the server had just failed to answer others."""


class Lateness:
    """
    How late this process's loop is with everything, all in all.

    That is what it computes itself, and where its timers come far behind their time, as where other processes keep it
    from its core, all of that interval.
    """

    def __init__(self) -> None:
        self._total_s = 0.0
        self._due_at = 0.0
        self._computed_s = 0.0
        self._users = 0

    @asynccontextmanager
    async def excluded(self, limit_s: float) -> AsyncIterator["_Limit"]:
        """Give the block *limit_s* in which the loop wasn't late, `LONGEST_S` in all. TimeoutError."""
        clock, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in one
        canceled_before = task.cancelling()
        self._users += 1
        if not self._due_at:
            self._tick(clock)
        limit = _Limit(self, task, clock, limit_s)
        try:
            yield limit
        except asyncio.CancelledError:
            if limit.cancels and task.cancelling() - limit.cancels <= canceled_before:
                raise TimeoutError from None
            raise
        finally:
            limit.lift()
            self._users -= 1
            for _ in range(limit.cancels):
                task.uncancel()

    def until(self, now: float) -> float:
        """Seconds that the loop was late with until *now*."""
        if not self._due_at:
            return self._total_s
        late_s = now - self._due_at
        # Where a tick is late, there was no rest in all of its interval.
        return self._total_s + (TICK_S + late_s if late_s > TICK_S / 2 else thread_time() - self._computed_s)

    def _tick(self, clock: asyncio.AbstractEventLoop) -> None:
        self._total_s = self.until(clock.time())
        self._computed_s = thread_time()
        self._due_at = clock.time() + TICK_S if self._users else 0.0
        if self._users:
            clock.call_at(self._due_at, self._tick, clock)


class _Limit:
    """
    A block's limit, which cancels its task.

    An object and not a closure that names itself: that would be garbage for the collector after every command, and the
    collector stops the loop for long where thousands wait.
    """

    __slots__ = ("_began", "_clock", "_late_before", "_lateness", "_limit_s", "_task", "_timer", "cancels")

    def __init__(
        self, lateness: Lateness, task: "asyncio.Task[Any]", clock: asyncio.AbstractEventLoop, limit_s: float
    ) -> None:
        self._lateness, self._task, self._clock, self._limit_s = lateness, task, clock, limit_s
        # What is late by now was so before the block: it isn't the block's.
        self._began, self.cancels = clock.time(), 0
        self._late_before = lateness.until(self._began)
        self._timer = clock.call_later(limit_s, self._check)

    def _check(self) -> None:
        now = self._clock.time()
        late_s = self._lateness.until(now) - self._late_before
        ends = min(self._began + self._limit_s + late_s, self._began + max(LONGEST_S, self._limit_s))
        if now >= ends:
            # Again and again: a cancel that meets an answer, or another timeout, can be lost.
            self.cancels, ends = self.cancels + 1, now + TICK_S
            self._task.cancel()
        self._timer = self._clock.call_at(ends, self._check)

    def lift(self) -> None:
        """Cancel no more."""
        self._timer.cancel()

    def waited_s(self) -> float:
        """How long the block has taken until now, without what the loop was late by."""
        now = self._clock.time()
        return max(0.0, now - self._began - (self._lateness.until(now) - self._late_before))


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Lateness] = WeakKeyDictionary()


def _lateness() -> Lateness:
    """The running loop's."""
    return _loops.setdefault(asyncio.get_running_loop(), Lateness())


class _Waited:
    """How long a request has waited for the ledger, in seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


_request: ContextVar[_Waited | None] = ContextVar("waited_for_the_ledger", default=None)


class one_patience:  # noqa: N801  used as a function
    """
    All commands inside the block, one request's, may together wait as long as a single one may.

    A class, because a generator costs every request more than all that this does.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _request.set(_Waited())

    def __exit__(self, *_: object) -> None:
        _request.reset(self._token)


def new_patience() -> None:
    """Begin to count anew: for those who wait for a job, look after look, however long that takes."""
    waited = _request.get()
    if waited is not None:
        waited.seconds = 0.0


@contextmanager
def waiting() -> Iterator[None]:
    """Count the block's time as this request's, without what this process itself was late by."""
    waited = _request.get()
    if waited is None:
        yield
        return
    clock, lateness = asyncio.get_running_loop(), _lateness()
    began, late_before = clock.time(), lateness.until(clock.time())
    try:
        yield
    finally:
        now = clock.time()
        waited.seconds += max(0.0, now - began - (lateness.until(now) - late_before))


class FailFastRedis(Redis):
    """
    Gives every command *timeout_s* in all: for a connection, for sending, and for the answer. Time in which this
    process itself was too busy to look for answers doesn't count: a crowd must not be refused because it is one.
    Inside `one_patience` all commands together have no more than that.

    When a command got no answer, and no other one got any while it waited, the server is taken to be down: commands
    within the next `SILENT_S` seconds fail at once. So two hundred who come together are refused together.

    *times* takes how long each answer took, and each wait that was given up, without what this process was late by.
    """

    def __init__(self, pool: BlockingConnectionPool, *, timeout_s: float, times: AnswerTimes | None = None) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._timeout_s = timeout_s
        self._times = times or AnswerTimes()
        self._answered_at = float("-inf")
        self._silent_until = float("-inf")

    @property
    def patience_s(self) -> float:
        """What is left of the time that this request may wait for the server."""
        waited = _request.get()
        return self._timeout_s - (waited.seconds if waited else 0.0)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer. NotSent, and what redis-py raises."""
        async with self.bounded():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Hold what is asked of the server inside the block to the rules above; for pipelines."""
        began, patience_s = time.monotonic(), self.patience_s
        if began < self._silent_until:
            raise NotSent("the server gave no answer a moment ago")
        if patience_s < LEAST_SHARE * self._timeout_s:
            raise NotSent(f"the server was too slow: the answers before this one took {self._timeout_s:g} s")
        limit: _Limit | None = None
        try:
            with waiting():
                async with _lateness().excluded(patience_s) as limit:
                    yield
        except TimeoutError as error:
            self._heard(limit)
            if patience_s == self._timeout_s:  # else it only was slow
                self._failed(began)
            raise RedisTimeoutError(f"no answer within {self._timeout_s:g} s") from error
        except ResponseError:
            self._heard(limit)
            self._answered_at = time.monotonic()
            raise
        except (RedisError, OSError):
            self._failed(began)
            raise
        self._heard(limit)
        self._answered_at = time.monotonic()

    def _heard(self, limit: _Limit | None) -> None:
        if limit is not None:
            self._times.add(limit.waited_s())

    def _failed(self, began: float) -> None:
        if self._answered_at < began:
            self._silent_until = time.monotonic() + SILENT_S
