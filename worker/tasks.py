"""The one Celery task: a hint came in, so take a step of work."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from transcription.ledger.broker import PULL
from worker.runtime import WorkerRuntime


def register(app: Celery, runtime: Callable[[], WorkerRuntime]) -> None:
    """Give *app* the task; *host* finds the process's host when a hint comes."""

    @app.task(name=PULL)  # type: ignore[untyped-decorator]
    def pull() -> Any:
        done = runtime().step()
        return None if done is None else str(done)
