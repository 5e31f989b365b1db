"""
The worker's entry point: `celery --app worker.app worker`.

Settings are read here, once; the host is built when Celery has started, in the process that works.
"""

# ruff: noqa: E402
import gc
from typing import Any

gc.disable()  # what is imported here stays: looking for garbage in it would take a tenth of the start

import structlog
from celery import Celery
from celery.concurrency import get_implementation
from celery.signals import celeryd_init, setup_logging, worker_init, worker_shutdown, worker_shutting_down
from kombu.entity import Queue

from transcription.errors import ModelUnavailable
from transcription.ledger.broker import QUEUE, celery_app, queue_of
from transcription.ledger.connections.shared_connection import shared_by
from transcription.observability.logs import configure
from transcription.settings import InvalidSettings, Settings, read_settings
from worker.consumer import control
from worker.consumer.celery_internals import CONSUMER, WorkerQueues, leave_out
from worker.consumer.shared_transport import TRANSPORT
from worker.diarizers.choice import ChosenDiarizer
from worker.engines.choice import choose
from worker.health import vital_threads
from worker.runtime import WorkerRuntime
from worker.tasks import register


def _settings() -> Settings:
    """The environment's settings; what is wrong with them ends the process with a sentence, not a traceback."""
    try:
        return read_settings()
    except InvalidSettings as error:
        raise SystemExit(f"settings: {error}") from None


def _computes(settings: Settings) -> tuple[str, ...]:
    """The models that this worker serves, and what tells speakers apart."""
    try:
        return (*sorted(settings.served), *filter(None, [ChosenDiarizer(settings).model]))
    except ModelUnavailable as error:
        raise SystemExit(f"settings: {error.message}") from None


settings = _settings()
app: Celery = celery_app(settings)
app.conf.broker_transport = TRANSPORT
app.conf.worker_consumer = CONSUMER
app.conf.worker_concurrency = choose(settings).slots
shared_by(app.conf.worker_concurrency)
app.conf.task_queues = [Queue(name) for name in (QUEUE, *map(queue_of, _computes(settings)))]  # type: ignore[no-untyped-call]
log = structlog.get_logger()
_runtimes: list[WorkerRuntime] = []
_names: list[str] = []


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    configure(level=settings.log_level, style=settings.log_format, service="worker", replica=_names[-1])


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _refuse(sender: str, options: dict[str, Any], **_: Any) -> None:
    _names.append(sender)
    if options.get("autoscale"):
        raise SystemExit("this worker's threads are set by MURMUR_WORKER__SLOTS: leave --autoscale out")


@worker_init.connect  # type: ignore[untyped-decorator]
def _start(sender: Any, **_: Any) -> None:
    if "thread" not in get_implementation(sender.pool_cls).__module__:
        raise SystemExit("this worker needs Celery's pool of threads: leave --pool (-P) out, or say --pool threads")
    leave_out(sender)
    vital_threads.watch()
    try:
        runtime = WorkerRuntime(sender.hostname, settings, app, WorkerQueues(sender))
        runtime.start()
    except Exception as error:
        # Celery would log it and go on, as a worker that looks alive and does nothing.
        log.exception("the worker can't start")
        raise SystemExit(1) from error
    _runtimes.append(runtime)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    for runtime in _runtimes:
        runtime.stop()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _say_goodbye(**_: Any) -> None:
    """The process ends after this, at a stop by remote control without the signal above."""
    for runtime in _runtimes:
        runtime.stop(at_once=True)
        runtime.join()


register(app, lambda: _runtimes[0])
control.install(lambda: _runtimes[0])
gc.freeze()
gc.enable()
