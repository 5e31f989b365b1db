"""Maintenance: what must go on goes on, and what nobody needs is taken away, whatever the ledger does."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.failing_ledger import AWAY, ODD, Failing
from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.housekeeping import maintenance as maintenance_module
from transcription.housekeeping.maintenance import Maintenance
from transcription.ledger import span_store
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Retention, Settings
from transcription.storage.disk import DiskBlobs

LEASE = Lease(ttl_s=3, renew_s=0.2, stall_s=60)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, ledger={"url": redis_url}, lease=LEASE)


class Hints:
    """A queue that counts."""

    def __init__(self, waiting: int = 0) -> None:
        self.sent: list[int] = []
        self._waiting = waiting

    def hint(self, lane: str, count: int = 1) -> None:
        self.sent.append(count)

    def waiting(self, lane: str) -> int:
        return self._waiting


@contextmanager
def caring(spans: Any, settings: Settings, hints: Hints | None = None) -> Iterator[Maintenance]:
    thread = Maintenance(spans, hints or Hints(), DiskBlobs(settings.blob_dir), settings)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def sweeping(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(maintenance_module, "SWEEP_INTERVAL_S", 0.1)
    quick = LEASE.model_copy(update={"ttl_s": 1.0})
    return settings.model_copy(update={"lease": quick, "retention": Retention(orphan_s=3600, tombstone_ttl_s=60)})


@pytest.mark.parametrize("error", [AWAY, ODD])
@pytest.mark.parametrize("call", ["lock", "reap", "pending", "sweep"])
def test_the_platform_is_looked_after_again_after_an_error(
    spans: RedisSpans, sweeping: Settings, error: Exception, call: str
) -> None:
    ledger = Failing(spans)
    ledger.fail(call, error, error)
    with caring(ledger, sweeping):
        eventually(lambda: not ledger.errors[call])
        seen = len(ledger.calls)
        eventually(lambda: {"reap", "sweep", "pending"} <= set(ledger.calls[seen:]))


def test_one_worker_at_a_time_looks_after_the_platform(spans: RedisSpans, settings: Settings) -> None:
    slow = settings.model_copy(update={"lease": LEASE.model_copy(update={"ttl_s": 5.0})})
    ledgers = [Failing(spans) for _ in range(3)]
    began = time.monotonic()
    with caring(ledgers[0], slow), caring(ledgers[1], slow), caring(ledgers[2], slow):
        eventually(lambda: sum(ledger.calls.count("reap") for ledger in ledgers) >= 3)
        rounds = (time.monotonic() - began) / (0.5 * 0.9) + 1
        assert sum(ledger.calls.count("reap") for ledger in ledgers) <= rounds
        assert sum(ledger.calls.count("sweep") for ledger in ledgers) == 1


@pytest.mark.parametrize(
    ("jobs", "slots", "waiting", "sent"), [(0, 3, 0, []), (2, 3, 0, [2]), (5, 3, 0, [5]), (5, 3, 1, [4]), (2, 0, 0, [])]
)
def test_hints_are_topped_up_to_what_can_be_claimed(  # noqa: PLR0917 - a table
    client: LedgerClient, settings: Settings, jobs: int, slots: int, waiting: int, sent: list[int]
) -> None:
    patient = settings.model_copy(update={"lease": Lease()})  # no worker is forgotten on a busy machine
    with connect(patient.ledger) as own:
        spans = RedisSpans(own, patient)
        for name in range(slots):
            LedgerWorker(spans, f"w{name}")
        for letter in "abcde"[:jobs]:
            client.new(letter)
        hints = Hints(waiting)
        Maintenance(spans, hints, DiskBlobs(settings.blob_dir), patient).top_up()
    assert [count for count in hints.sent if count] == sent


def test_no_hint_is_taken_back(client: LedgerClient, spans: RedisSpans, settings: Settings) -> None:
    LedgerWorker(spans, "w1")
    client.new()
    hints = Hints(waiting=9)
    Maintenance(spans, hints, DiskBlobs(settings.blob_dir), settings).top_up()
    assert all(count >= 0 for count in hints.sent)


def test_a_lost_workers_span_comes_back_and_gets_a_hint(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    short = settings.model_copy(update={"lease": LEASE.model_copy(update={"ttl_s": 0.2})})
    with connect(short.ledger) as own:
        brief = RedisSpans(own, short)
        worker = LedgerWorker(brief)
        client.new()
        hints = Hints()
        with caring(brief, short, hints):
            worker.claim()
            hints.sent.clear()
            eventually(lambda: [count for count in hints.sent if count])
            assert spans.pending() == 1


def test_a_sweep_deletes_what_nobody_needs_and_nothing_else(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    held, orphan, fresh = (letter * 64 for letter in "abc")
    job = client.new("a")
    for name in (held, orphan, fresh):
        path = settings.blob_dir / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    settings.pcm_dir.mkdir(parents=True)
    decoded = {name: settings.pcm_dir / f"{name}.pcm" for name in (job.computation, "gone", "young")}
    for path in decoded.values():
        path.write_bytes(b"pcm")
    old = time.time() - 7200
    for path in (*settings.blob_dir.rglob("*"), *decoded.values()):
        os.utime(path, (old, old))
    for young in (next(settings.blob_dir.rglob(fresh)), decoded["young"]):
        os.utime(young)
    care = Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings)
    care.sweep()
    care.clean_host()
    assert sorted(path.name for path in settings.blob_dir.rglob("*") if path.is_file()) == [held, fresh]
    assert sorted(path.stem for path in settings.pcm_dir.iterdir()) == sorted([job.computation, "young"])


def test_a_recording_goes_when_its_words_are_there_and_every_host_cleans_its_own_scratch(
    client: LedgerClient, spans: RedisSpans, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_store, "UNNEEDED_S", 0.0)
    spans.lock("repair", seconds=60)  # nothing is looked for file by file
    spans.lock("sweep", seconds=60)  # another host sweeps
    done, waiting = client.new("a"), client.new("b")
    paths = {}
    for job in (done, waiting):
        path = paths[job.id] = settings.blob_dir / job.audio.sha256[:2] / job.audio.sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
        os.utime(path, (time.time() - 120, time.time() - 120))
    LedgerWorker(spans).work()
    care = Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings)
    care.sweep()
    assert [paths[job.id].exists() for job in (done, waiting)] == [False, True]
    assert client.text(done)
    assert client.submit("a")[0].cached
    settings.pcm_dir.mkdir(parents=True)
    (settings.pcm_dir / "gone.pcm").write_bytes(b"pcm")
    os.utime(settings.pcm_dir / "gone.pcm", (1, 1))
    with caring(spans, settings):
        eventually(lambda: not list(settings.pcm_dir.iterdir()))


def test_a_recording_stays_as_long_as_its_result_where_that_is_set(
    client: LedgerClient, spans: RedisSpans, settings: Settings
) -> None:
    keeping_audio = settings.model_copy(update={"retention": Retention(keep_audio=True)})
    kept = RedisSpans(spans._client, keeping_audio)
    job = client.new("a")
    LedgerWorker(kept).work()
    assert kept.needed_audio([job.audio.sha256])
    client.forget(job)
    assert not kept.needed_audio([job.audio.sha256])


def test_a_told_thread_ends_soon(spans: RedisSpans, settings: Settings) -> None:
    with caring(spans, settings) as thread:
        eventually(thread.is_alive)


def test_a_sweep_ends_the_jobs_of_models_that_nobody_serves_any_more(
    spans: RedisSpans, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(RedisSpans, "fail_unserved", lambda _: asked.append("unserved") or 0)
    Maintenance(spans, Hints(), DiskBlobs(settings.blob_dir), settings).sweep()
    assert asked == ["unserved"]
