"""What Celery and its broker are told: the settings under which an outage was measured to cost least."""

from transcription.ledger.broker import celery_app
from transcription.settings import Settings


def test_celery_loses_and_hoards_as_little_as_it_can() -> None:
    told = celery_app(Settings()).conf
    assert told.task_ignore_result is True  # else a submit hangs for as long as the broker is away
    assert told.worker_prefetch_multiplier == 1
    assert told.worker_disable_prefetch is True
    assert told.worker_pool == "threads"
    assert told.accept_content == ["json"]
    assert told.broker_connection_max_retries is None
    assert not told.worker_cancel_long_running_tasks_on_connection_loss  # it lost jobs
    options = told.broker_transport_options
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (10, 2)
    assert options["socket_keepalive"] is True
    assert options["health_check_interval"] == 10
    assert options["retry_on_timeout"] is False
