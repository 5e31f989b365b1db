"""Hints to the workers over Celery. A hint says only that there is something to claim."""

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from transcription.settings import Settings

PULL = "murmur.pull"
QUEUE = "murmur"
"""The start of every queue's name; a queue of this name alone takes hints of versions that had only one."""


def queue_of(lane: str) -> str:
    """The Celery queue of a lane: `murmur.large-v3`, `murmur.large-v3.language=en.device=cuda`."""
    return ".".join([QUEUE, *lane.split("\n")])


def celery_app(settings: Settings) -> Celery:
    """
    Celery as both sides need it.

    The settings are those under which a broker's restart or a silent connection costs least; see
    docs/architecture.md. Results are off: the ledger has them.
    """
    app = Celery("murmur", broker=settings.ledger.broker())
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=5,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": False,
            # Whoever sends a hint goes on after a second where the broker is away; workers wait for it elsewhere.
            "connect_retries_timeout": 1,
            "interval_start": 0.2,
            "interval_step": 0.2,
        },
        # The threads share the model; a process that Celery forks would have neither the model nor the leases.
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
    )
    return app


class CeleryQueue:
    """A JobQueue on Celery; *client* is one of the broker's server."""

    def __init__(self, app: Celery, client: Redis) -> None:
        self._app = app
        self._client = client

    def hint(self, lane: str, count: int = 1) -> None:
        """Send *count* hints; never raises: a lost hint is sent again."""
        try:
            for _ in range(count):
                self._app.send_task(PULL, queue=queue_of(lane), retry=False)
        except (OperationalError, RedisError, OSError):
            return

    def waiting(self, lane: str) -> int:
        """Hints not yet taken; 0 while the broker can't be reached."""
        try:
            return int(self._client.llen(queue_of(lane)))
        except (RedisError, OSError):
            return 0
