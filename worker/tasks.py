"""
The one Celery task, and how its messages are taken.

A message is a hint that names no job. The consumer claims a span first: when there is none, the hint is used up and
nothing shows. Otherwise the task gets the id, the name and the arguments of what was claimed, so that Celery's events,
`inspect` and Flower speak of jobs. This file alone knows parts of Celery and kombu that aren't documented; a test fails
when they change.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore, Retry
from celery.worker.strategy import default as default_strategy

from transcription.ledger.broker import PULL
from worker.runtime import GivenUp, SpanFailed, WorkerRuntime

log = structlog.get_logger()

Runtime = Callable[[], WorkerRuntime]


def register(app: Celery, runtime: Runtime) -> None:
    """Give *app* the task; *runtime* finds the process's runtime when a hint comes."""

    @app.task(name=PULL, bind=True, Strategy=partial(_claim_first, runtime))  # type: ignore[untyped-decorator]
    def pull(self: Task) -> str:
        try:
            return str(runtime().work(self.request.id))
        except SpanFailed as failure:
            if failure.retry_in_s is None:
                raise
            raise Retry(str(failure), exc=failure, when=failure.retry_in_s) from failure
        except GivenUp as end:
            if end.canceled:
                self.send_event("task-revoked", terminated=True, signum=None, expired=False)
            raise Ignore(str(end)) from end


def _claim_first(runtime: Runtime, task: Task, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's strategy for the task: what happens to each message."""
    handle = default_strategy(task, app, consumer, **options)

    def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        taken = runtime().take()
        if taken is None:
            ack(log, consumer.connection_errors)
            return None
        message.headers.update(
            id=taken.id,
            root_id=taken.id,
            shadow=f"murmur.transcribe.{taken.priority}",
            argsrepr="()",
            kwargsrepr=repr(taken.shown),
            retries=taken.retries,
        )
        message._decoded_cache = [(), taken.shown, {}]  # noqa: SLF001
        return handle(message, body, ack, reject, callbacks, **more)

    return take
