"""What most of these tests stand on: the API behind a socket, with a real ledger, and a worker's hand on that."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from transcription.ledger.connections.clients import connect
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
def client(settings: Settings) -> LedgerClient:
    """A client's hand on the ledger."""
    return LedgerClient(settings)


@pytest.fixture
def spans(settings: Settings) -> Iterator[RedisSpans]:
    """The workers' store."""
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With what status the process ended, had it been one of its own."""
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    return found


@pytest.fixture
def worker(spans: RedisSpans) -> LedgerWorker:
    """A worker without a model, which does what the test says."""
    return LedgerWorker(spans)
