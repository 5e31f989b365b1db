"""What the ledger's own suites stand on: the stores on a real server, whose clock a test can put forward."""

from collections.abc import Iterator

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import DAY_S
from tests.ledger_worker import LedgerWorker
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Retention, Settings


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """A lease that no busy machine outlasts, and the defaults that these tests count on."""
    lease, retention = Lease(ttl_s=20, max_attempts=3), Retention(tombstone_ttl_s=7 * DAY_S)
    return Settings(ledger={"url": redis_url}, lease=lease, retention=retention)


@pytest.fixture
def spans(settings: Settings, ledger_clock: LedgerClock) -> Iterator[RedisSpans]:
    """The workers' store."""
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


@pytest.fixture
def worker(spans: RedisSpans) -> LedgerWorker:
    """A worker without a model, registered in a ledger that is reaped."""
    spans.reap()
    return LedgerWorker(spans)


@pytest.fixture
def client(settings: Settings) -> LedgerClient:
    """A client's hand on the ledger."""
    return LedgerClient(settings)
