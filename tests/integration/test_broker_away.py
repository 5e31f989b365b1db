"""A broker that can't be reached: hints are lost without a word, and nothing else is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.free_port import free_port
from tests.platform import running_ledger
from transcription.ledger.broker import CeleryQueue, celery_app
from transcription.ledger.connections.clients import connect_broker
from transcription.settings import Settings


@pytest.fixture
def apart(redis_url: str) -> Settings:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    return Settings.model_validate({"ledger": {"url": redis_url, "broker_url": nowhere}})


@pytest.fixture
def queue(apart: Settings) -> Iterator[CeleryQueue]:
    with celery_app(apart) as app, connect_broker(apart.ledger) as client:
        yield CeleryQueue(app, client)


def test_hint_that_nobody_takes_is_no_error_and_none_waits(queue: CeleryQueue) -> None:
    queue.hint("demo", 3)
    assert queue.waiting("demo") == 0


def test_hints_are_sent_again_wait_in_their_own_lane(tmp_path: Path) -> None:
    with running_ledger(tmp_path) as server:
        settings = Settings.model_validate({"ledger": {"url": server.url}})
        with celery_app(settings) as app, connect_broker(settings.ledger) as client:
            queue = CeleryQueue(app, client)
            queue.hint("demo", 2)
            assert queue.waiting("demo") == 2
            assert queue.waiting("another") == 0
