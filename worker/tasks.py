"""
The one Celery task.

A message is a hint that names no job. The consumer claims a span first: when there is none, the hint is used up and
nothing shows. Otherwise the task gets the id, the name and the arguments of what was claimed, so that Celery's events,
`inspect` and Flower speak of jobs.
"""

from collections.abc import Callable
from functools import partial

from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from transcription.ledger.broker import PULL
from worker.consumer.celery_internals import Shown, claim_first
from worker.consumer.span_results import GivenUp, SpanFailed, SpanRefused
from worker.runtime import WorkerRuntime

Runtime = Callable[[], WorkerRuntime]


def register(app: Celery, runtime: Runtime) -> None:
    """Give *app* the task; *runtime* finds the process's runtime when a hint comes."""

    def claim() -> Shown | None:
        taken = runtime().take()
        if taken is None:
            return None
        return Shown(taken.id, f"murmur.transcribe.{taken.priority}", taken.retries, taken.shown)

    # What it `throws` is logged by Celery as one line, without a traceback.
    @app.task(  # type: ignore[untyped-decorator]
        name=PULL, bind=True, shared=False, throws=(SpanRefused,), Strategy=partial(claim_first, claim)
    )
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
