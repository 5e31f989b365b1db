"""What most of these tests stand on: the API behind a socket, with a real ledger, and a worker's hand on that."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from transcription.ledger.connections import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings of the API; a module whose tests need others has a fixture of its own by this name."""
    return api_settings(redis_url, tmp_path)


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the API."""
    with live_api(settings) as client:
        yield client


@pytest.fixture
def worker(settings: Settings) -> Iterator[LedgerWorker]:
    """A worker without a model, which does what the test says."""
    with connect(settings.ledger) as client:
        yield LedgerWorker(RedisSpans(client, settings))
