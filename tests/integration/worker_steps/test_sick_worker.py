"""A worker that keeps meeting faults of the platform: what closes it, what it tells of itself, when it works again."""

from typing import Any

import pytest

from tests.platform import eventually
from tests.scripted_engine import Script
from tests.worker_site import SHORT, Site
from transcription.errors import ModelUnavailable, StorageUnavailable
from transcription.job import Status
from transcription.ports import WorkerInfo
from worker.consumer.span_results import SpanFailed
from worker.health import quarantine

ENOUGH = 3
"""Faults in a row after which a worker stops to claim (MURMUR_WORKER__QUARANTINE_AFTER)."""


class Store:
    """Where the worker has its audio from: away as long as the test says so."""

    def __init__(self, fetch: Any) -> None:
        self._fetch = fetch
        self.away = False

    def fetch(self, *args: Any, **keywords: Any) -> Any:
        if self.away:
            raise StorageUnavailable("the store is away", retry_after_s=1)
        return self._fetch(*args, **keywords)


@pytest.fixture
def store(site: Site, monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store(site.worker._blobs.fetch)
    monkeypatch.setattr(site.worker._blobs, "fetch", found.fetch)
    return found


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(quarantine, "LONGEST_PAUSE_S", 0.05)


def told(site: Site) -> WorkerInfo:
    """What the ledger knows of the worker."""
    (worker,) = site.client.backlog().workers
    return worker


def fail(site: Site, language: str) -> None:
    """Have the worker fail at a recording, which nobody wants afterwards."""
    job = site.submit(SHORT, language=language)
    with pytest.raises(SpanFailed):
        site.step()
    assert site.client.get(job).failure is None
    site.client.cancel(job)


def test_worker_whose_store_is_away_says_so_and_works_again_when_it_is_back_though_nothing_waits(
    site: Site, store: Store
) -> None:
    store.away = True
    for language in ("en", "de", "es"):
        assert not site.worker._quarantine.reason
        fail(site, language)
    waiting = site.submit(SHORT, language="it")
    assert site.worker.take() is None
    assert eventually(lambda: told(site).quarantine) == "storage: the store is away"
    site.client.cancel(waiting)
    store.away = False
    eventually(lambda: not told(site).quarantine)
    job = site.submit(SHORT, language="pt")
    assert site.step()
    assert site.client.status(job) is Status.COMPLETED


@pytest.mark.parametrize("ends_well", [True, False], ids=["done", "failed by itself"])
def test_faults_between_which_a_span_came_to_its_own_end_close_no_worker(
    site: Site, store: Store, script: Script, ends_well: bool
) -> None:
    def boom(_: int) -> None:
        raise RuntimeError("boom")

    store.away = True
    for language in ("en", "de", "es")[: ENOUGH - 1]:
        fail(site, language)
    store.away = False
    if ends_well:
        site.submit(SHORT, language="it")
        assert site.step()
    else:
        script.before = boom
        fail(site, "it")
    store.away = True
    fail(site, "pt")
    assert site.worker._quarantine.open


def test_model_that_can_not_be_loaded_is_told_as_withdrawn_until_it_can(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise ModelUnavailable("no weights")

    with monkeypatch.context() as patched:
        patched.setattr(site.worker._models, "_load", missing)
        fail(site, "en")
        eventually(lambda: told(site).withdrawn == ("demo",))
        assert site.worker.take() is None
    eventually(lambda: told(site).withdrawn == ())
    site.submit(SHORT, language="en")
    assert site.step()
