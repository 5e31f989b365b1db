"""Whatever stands behind a port has every method of it, with its arguments; mypy holds only the code to that."""

import inspect

import pytest

from tests.memory_jobs import MemoryJobs, MemoryQueue
from tests.memory_outbox import MemoryOutbox
from tests.memory_spans import MemorySpans
from transcription.ledger.broker import CeleryQueue
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.ledger.webhook_outbox import RedisOutbox
from transcription.ports import BlobStore, EventLog, JobQueue, JobStore, Outbox, SpanStore
from transcription.storage.cached import CachedBlobs
from transcription.storage.disk import DiskBlobs

PAIRS = [
    (SpanStore, MemorySpans),
    (SpanStore, RedisSpans),
    (JobStore, MemoryJobs),
    (JobStore, RedisJobs),
    (Outbox, MemoryOutbox),
    (Outbox, RedisOutbox),
    (BlobStore, DiskBlobs),
    (BlobStore, CachedBlobs),
    (JobQueue, MemoryQueue),
    (JobQueue, CeleryQueue),
    (EventLog, RedisEvents),
]


def arguments(kind: type, name: str) -> list[tuple[str, object]]:
    return [(one.name, one.kind) for one in inspect.signature(getattr(kind, name)).parameters.values()]


@pytest.mark.parametrize(("port", "kind"), PAIRS, ids=lambda one: one.__name__)
def test_what_stands_behind_a_port_has_all_of_it(port: type, kind: type) -> None:
    names = {name for name in vars(port) if not name.startswith("_")}
    assert names
    assert names <= set(dir(kind)), f"{kind.__name__} has no {sorted(names - set(dir(kind)))}"
    assert {name: arguments(kind, name) for name in names} == {name: arguments(port, name) for name in names}
