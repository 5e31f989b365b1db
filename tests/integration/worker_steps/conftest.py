"""What these tests stand on: one worker on a real ledger, whose engine a test scripts."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import scripted_engine
from tests.ledger_client import LedgerClient
from tests.platform import eventually
from tests.scripted_engine import Script
from tests.worker_site import Site
from transcription.ledger.broker import celery_app
from transcription.settings import Lease, Limits, Security, Settings, Worker
from worker import runtime as runtime_module
from worker.consumer.celery_internals import WorkerQueues
from worker.runtime import WorkerRuntime


@pytest.fixture
def span_s() -> float:
    """At this length the long sample has two spans of two windows; at 20 s it has four of one."""
    return 40.0


@pytest.fixture
def webhooks() -> bool:
    return True


@pytest.fixture
def drain_s() -> float:
    return 0.0


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, span_s: float, webhooks: bool, drain_s: float) -> Settings:
    return Settings(
        model="demo",
        data_dir=tmp_path,
        ledger={"url": redis_url},
        lease=Lease(ttl_s=20, renew_s=0.3, max_attempts=2),
        limits=Limits(min_free_disk_bytes=0, max_memory_percent=100),
        security=Security(sandbox=False),
        worker=Worker(engine="tests.scripted_engine:load", span_s=span_s, slots=4, webhooks=webhooks, drain_s=drain_s),
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    fresh = Script()
    monkeypatch.setattr(scripted_engine, "script", fresh)
    return fresh


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    def leave(status: int) -> None:
        found.append(status)
        if threading.current_thread() is threading.main_thread():
            raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(runtime_module, "EXIT_DELAY_S", 0)
    return found


@pytest.fixture
def site(settings: Settings, script: Script, ended: list[int]) -> Iterator[Site]:
    with celery_app(settings) as app:
        worker = WorkerRuntime("w1", settings, app, WorkerQueues(None))
        worker.start()
        eventually(lambda: worker._leases.open)
        try:
            yield Site(worker, LedgerClient(settings), settings, app)
        finally:
            worker.stop(at_once=True)
            worker._decoder.close()
            for thread in threading.enumerate():
                if thread.name in ("leave", "exit", "leases", "maintenance", "webhook-dispatcher"):
                    thread.join(15)
