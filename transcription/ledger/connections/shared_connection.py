"""A few connections to a server for a process, which its threads use in turn: a script takes under a millisecond."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from transcription.ledger.connections.clients import NO_NOTICES

PATIENCE_S = 20.0
OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "maint_notifications_config": NO_NOTICES,
}


class SharedPool(ConnectionPool):
    """
    A pool that gives out few connections at a time, and more only to a thread that has one already.

    (Kombu asks for a second one in the middle of a transaction.) Such a second one is closed when it is given back.

    Attributes:
        answered: Takes how long each answer took, in seconds, without the wait for other threads' turns.
    """

    answered: Callable[[float], None] | None = None

    def __init__(self, **options: Any) -> None:
        self._turns = threading.BoundedSemaphore(_connections)
        self._own = _Own()
        super().__init__(**{**options, **OPTIONS, "retry": Retry(NoBackoff(), 1), "max_connections": None})

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Wait for one's turn, then as any pool. RedisConnectionError: others have had it for too long."""
        own = self._own
        if not own.depth and not self._turns.acquire(timeout=PATIENCE_S):
            raise RedisConnectionError(f"No connection available: others have waited for {PATIENCE_S:g} s for theirs")
        own.depth += 1
        if own.depth == 1:
            own.began = monotonic()
        depth = own.depth
        try:
            return super().get_connection()
        except BaseException:
            if own.depth == depth:  # else it was released already
                self._leave()
            raise

    def release(self, connection: Any) -> None:
        """Take a connection back, and let the next thread have it."""
        if self._own.depth > 1:
            connection.disconnect()  # before another thread can have it
        elif self.answered is not None:
            self.answered(monotonic() - self._own.began)
        super().release(connection)
        self._leave()

    def _leave(self) -> None:
        self._own.depth -= 1
        if not self._own.depth:
            self._turns.release()


class _Own(threading.local):
    """How many connections a thread has, and since when."""

    depth = 0
    began = 0.0


THREADS = 32
"""That share a connection. Where others keep Python busy, whose turn it is waits for it, and all wait with it."""

_connections = 1


def shared_by(threads: int) -> None:
    """Say how many *threads* will use this process's connections to a server; before the first one is made."""
    global _connections  # noqa: PLW0603  the process's, as the pools are
    _connections = max(1, threads // THREADS)


_pools: dict[tuple[Any, ...], SharedPool] = {}
_lock = threading.Lock()


def shared_pool(options: dict[str, Any]) -> SharedPool:
    """This process's pool for a server, a database and a user, as redis-py names them in *options*."""
    where = options.get("path") or options.get("host") or "localhost"
    key = (where, int(options.get("port") or 6379), int(options.get("db") or 0), options.get("username"))
    with _lock:
        if key not in _pools:
            _pools[key] = SharedPool(**options)
        return _pools[key]


def shared_client(url: str, *, answered: Callable[[float], None] | None = None) -> Redis:
    """A client over this process's connections to a server; closing it closes nothing. *answered*: the pool's."""
    pool = shared_pool(dict(parse_url(url)))  # type: ignore[no-untyped-call]
    pool.answered = answered or pool.answered
    return Redis(connection_pool=pool)
