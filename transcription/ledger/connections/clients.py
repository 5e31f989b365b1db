"""Clients of Redis: for a worker, for the API, for Celery's broker, for commands that block."""

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from transcription.ledger.connections.answer_times import AnswerTimes
from transcription.ledger.connections.fail_fast import LONGEST_S, FailFastRedis
from transcription.settings import Ledger

CONNECTIONS = 64
DRIVER = DriverInfo()
"""What connections say of their library. redis-py would read its package's metadata for each of them: a millisecond."""
NO_NOTICES = MaintNotificationsConfig(enabled=False)
"""
No notices of a server's maintenance: a pool that takes them doesn't look whether a connection was closed meanwhile. So
after a server's restart each of its connections failed once more, seconds after the server was back.
"""


def connect(settings: Ledger, *, timeout_s: float = 10) -> Redis:
    """A client for a worker: several threads may share it."""
    return _connect(settings.url.get_secret_value(), timeout_s)


def connect_broker(settings: Ledger) -> Redis:
    """A client of the server that Celery's hints wait in, which may be another than the ledger's."""
    return _connect(settings.broker())


def _connect(url: str, timeout_s: float = 10) -> Redis:
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=2,
        socket_keepalive=True,
        maint_notifications_config=NO_NOTICES,
        driver_info=DRIVER,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
    )


def connect_async(settings: Ledger, times: AnswerTimes | None = None) -> FailFastRedis:
    """A client for the API: it gives up after ``timeout_s``, because somebody waits. *times*: see FailFastRedis."""
    longest_s = max(LONGEST_S, settings.timeout_s)  # the client itself is stricter
    pool = BlockingConnectionPool.from_url(
        settings.url.get_secret_value(),
        max_connections=CONNECTIONS,
        timeout=longest_s,
        decode_responses=True,
        socket_timeout=longest_s,
        socket_connect_timeout=longest_s,
        socket_keepalive=True,
        maint_notifications_config=NO_NOTICES,
        driver_info=DRIVER,
        health_check_interval=15,
        retry=AsyncRetry(NoBackoff(), 0),
    )
    return FailFastRedis(pool, timeout_s=settings.timeout_s, times=times)


def connect_waiting(settings: Ledger, *, longest_s: float) -> AsyncRedis:
    """A client for commands that block, for *longest_s* at most."""
    return AsyncRedis.from_url(
        settings.url.get_secret_value(),
        decode_responses=True,
        socket_timeout=longest_s + LONGEST_S,
        socket_connect_timeout=LONGEST_S,
        socket_keepalive=True,
        maint_notifications_config=NO_NOTICES,
        driver_info=DRIVER,
        retry=AsyncRetry(NoBackoff(), 0),
    )
