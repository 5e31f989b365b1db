"""The ways in which jobs and webhook messages end, for tests of what is kept afterwards."""

from typing import Any

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from transcription.errors import Fault
from transcription.job import Failure, Job, Outcome
from transcription.webhook import Verdict

DAY_S = 86_400
TTL_S = 600
RECEIVER = "http://receiver.test/"
BOOM = Failure(code="engine_failed", message="boom", retryable=True)
CORRUPT = Failure(code="corrupt_audio", message="no sound in it", fault=Fault.INPUT)


def end(client: LedgerClient, worker: LedgerWorker, ending: str, **options: Any) -> Job:
    """A job that has ended so: `cached` beside the one that was computed, `left` while another still waits."""
    if ending == "cached":
        client.new(**options)
        worker.work()
        job, outcome = client.submit(**options)
        assert outcome is Outcome.CACHED
        return job
    job = client.new(**options)
    if ending == "left":
        assert client.submit(**options)[1] is Outcome.JOINED
    if ending in ("canceled", "left"):
        client.cancel(job)
    elif ending == "failed":
        worker.spans.fail(worker.claim(), CORRUPT, retry_in_s=None)
    elif ending == "dead":
        worker.fail()
    else:
        worker.work()
    return job


def settle(
    client: LedgerClient, message: Any, outcome: Verdict, *, retry_in_s: float | None = None, lost: bool = False
) -> None:
    done = client.outbox(
        lambda box: box.settle(message, outcome, retry_in_s=retry_in_s, status=200, error="", took_s=0.1)
    )
    assert done is not lost
