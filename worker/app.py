"""
The worker's entry point: `celery --app worker.app worker --pool threads`.

Settings are read here, once; the host is built when Celery has started, in the process that works.
"""

from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_shutting_down

from transcription.ledger.broker import celery_app
from transcription.observability.logs import configure
from transcription.settings import InvalidSettings, Settings, read_settings
from worker import vital_threads
from worker.engines.choice import choose
from worker.runtime import WorkerRuntime
from worker.tasks import register


def _settings() -> Settings:
    """The environment's settings; what is wrong with them ends the process with a sentence, not a traceback."""
    try:
        return read_settings()
    except InvalidSettings as error:
        raise SystemExit(f"settings: {error}") from None


settings = _settings()
app: Celery = celery_app(settings)
app.conf.worker_concurrency = choose(settings).slots
_runtimes: list[WorkerRuntime] = []


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    configure(level=settings.log_level, style=settings.log_format, service="worker")


@worker_init.connect  # type: ignore[untyped-decorator]
def _start(sender: Any, **_: Any) -> None:
    vital_threads.watch()
    runtime = WorkerRuntime(sender.hostname, settings, app)
    _runtimes.append(runtime)
    runtime.start()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    for runtime in _runtimes:
        runtime.stop()


register(app, lambda: _runtimes[0])
