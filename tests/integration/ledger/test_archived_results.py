"""Finished results that have left the ledger for the blob store: nobody who reads them can tell."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient, left_over
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import DAY_S, TTL_S
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.unit.test_encryption import key_file
from transcription.errors import JobNotFound, ResultLost, StorageUnavailable
from transcription.housekeeping.maintenance import Maintenance
from transcription.job import Job, Outcome, Status
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.change_feed import Watch
from transcription.ledger.jobs.event_log import RedisEvents
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.ports import Event, Page, ResultStore
from transcription.settings import Retention, Settings
from transcription.settings.encryption import Encryption
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import open_results


class NoHints:
    def hint(self, lane: str, count: int = 1) -> None: ...

    def waiting(self, lane: str) -> int:
        return 0


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"data_dir": tmp_path})


@pytest.fixture
def store(settings: Settings) -> ResultStore:
    found = open_results(settings)
    assert found is not None
    return found


@pytest.fixture
def maintenance(settings: Settings, spans: RedisSpans, store: ResultStore) -> Maintenance:
    return Maintenance(spans, NoHints(), DiskBlobs(settings.blob_dir), settings, results=store)


@pytest.fixture
def reader(settings: Settings, store: ResultStore) -> "Reader":
    return Reader(settings, store)


@dataclass
class Site:
    """A ledger, a result store, and who moves results from one to the other."""

    client: LedgerClient
    worker: LedgerWorker
    store: ResultStore
    care: Maintenance
    reader: "Reader"
    clock: LedgerClock
    redis: Redis

    @property
    def spans(self) -> RedisSpans:
        return self.worker.spans

    def archive(self) -> None:
        self.care.archive(self.store)

    def files(self) -> list[Path]:
        return list(self.reader.settings.blob_dir.glob("results/??/*"))


@pytest.fixture
def site(
    client: LedgerClient, worker: LedgerWorker, maintenance: Maintenance, reader: "Reader", ledger_clock: LedgerClock
) -> Site:
    assert maintenance._results is not None
    return Site(client, worker, maintenance._results, maintenance, reader, ledger_clock, ledger_clock.redis)


class Reader:
    """What clients read."""

    def __init__(self, settings: Settings, store: ResultStore) -> None:
        self.settings = settings
        self.store = store

    def ask(self, question: Any) -> Any:
        async def run() -> Any:
            jobs = RedisJobs(connect_async(self.settings.ledger), self.settings, results=self.store)
            try:
                return await question(jobs)
            finally:
                await jobs.close()

        return asyncio.run(run())

    def text(self, job: Job) -> str:
        return str(self.ask(lambda jobs: jobs.transcript(job)).text)

    def all_of_it(self, job: Job) -> tuple[Any, ...]:
        """Job, transcript, segments read piecemeal from two marks on, and events from the beginning and from each."""
        first = self.ask(lambda jobs: jobs.get(job.id, tenant=job.tenant))
        transcript = self.ask(lambda jobs: jobs.transcript(first))
        pieces = [self.pieces(first, mark) for mark in ((0, 0), (0, 1), (1, 0))]
        events = self.events(first, None)
        later = [self.events(first, event.id) for event in events]
        assert later == [events[n + 1 :] for n in range(len(events))]
        return first, transcript, pieces, events

    def pieces(self, job: Job, mark: tuple[int, int]) -> list[Any]:
        found: list[Any] = []
        while True:
            segments, mark = self.ask(lambda jobs, mark=mark: jobs.written(job, mark))
            if not segments:
                return found
            found += segments

    def events(self, job: Job, after: str | None) -> list[Event]:
        async def run() -> list[Event]:
            client = connect_async(self.settings.ledger)
            watch = Watch(client)
            log = RedisEvents(client, self.settings, watch, self.store)
            try:
                return [event async for event in log.events(job, after=after, quiet_s=5) if event is not None]
            finally:
                await watch.close()
                await client.aclose()

        return asyncio.run(run())


def finished(client: LedgerClient, worker: LedgerWorker, letter: str = "a", **how: Any) -> Job:
    """A recording of two spans, in three windows."""
    job = client.new(letter, **how)
    held = worker.claim()
    worker.prepare(held, (4.0, 10.0))
    worker.write(held, 0, f" {letter} one", audio_s=2.0)
    worker.write(held, 1, f" {letter} two", audio_s=4.0)
    worker.finish(held)
    held = worker.claim()
    worker.write(held, 0, f" {letter} three", audio_s=6.0)
    worker.finish(held)
    return job


def test_whoever_reads_a_result_gets_the_same_before_and_after_it_left_the_ledger(site: Site) -> None:
    job = finished(site.client, site.worker)
    before = site.reader.all_of_it(job)
    assert before[1].text == "a one a two a three"
    site.archive()
    assert not [key for key in site.redis.keys("murmur:*") if ":segs:" in key or ":span:" in key or ":events:" in key]
    assert site.reader.all_of_it(job) == before


def test_a_job_whose_result_has_left_keeps_no_field_that_says_what_is_known_or_usual(site: Site) -> None:
    job = finished(site.client, site.worker)
    site.archive()
    fields = site.redis.hgetall(f"murmur:job:{job.id}")
    assert not {"id", "cached", "options"} & fields.keys()  # its key's name, 0 and {}
    found = site.reader.ask(lambda jobs: jobs.get(job.id, tenant=job.tenant))
    assert (found.id, found.cached, found.options) == (job.id, False, job.options)
    again, outcome = site.client.submit("a")
    assert outcome is Outcome.CACHED
    assert site.redis.hget(f"murmur:job:{again.id}", "cached") == "1"
    assert site.reader.ask(lambda jobs: jobs.get(again.id, tenant=again.tenant)).cached


def test_a_result_stays_in_the_ledger_for_an_hour_and_a_long_one_leaves_it_at_once(site: Site) -> None:
    short = site.client.new("s")
    site.worker.work()
    long = finished(site.client, site.worker, "l")
    site.archive()

    def archived(job: Job) -> bool:
        return bool(site.redis.hexists(f"murmur:comp:{job.computation}", "archived"))

    assert (archived(short), archived(long)) == (False, True)
    site.clock.advance(3500)
    site.archive()
    assert not archived(short)
    site.clock.advance(200)
    site.archive()
    assert archived(short)


def test_a_resubmission_gets_an_archived_result_and_a_lost_one_is_computed_anew(site: Site) -> None:
    job = finished(site.client, site.worker)
    site.archive()
    again, outcome = site.client.submit("a")
    assert outcome is Outcome.CACHED
    assert site.reader.text(again) == "a one a two a three"
    site.store.delete(job.computation)
    with pytest.raises(ResultLost, match="submit the recording again"):
        site.reader.text(job)
    assert site.client.submit("a")[1] is Outcome.NEW


def test_a_damaged_result_is_told_and_not_given_out(site: Site) -> None:
    job = finished(site.client, site.worker)
    site.archive()
    (path,) = site.reader.settings.blob_dir.glob("results/??/*")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ResultLost, match="can't be read"):
        site.reader.text(job)


@pytest.mark.parametrize("ending", ["deleted", "expired"])
def test_a_stored_result_goes_with_its_last_job(site: Site, ending: str) -> None:
    jobs = [finished(site.client, site.worker, ttl_s=TTL_S), site.client.submit("a", ttl_s=TTL_S)[0]]
    site.archive()
    assert len(site.files()) == 1
    if ending == "deleted":
        counts = []
        for job in jobs:
            counts.append(len(site.files()))
            site.reader.ask(lambda store, job=job: store.forget(job.id, tenant=job.tenant))
        assert counts == [1, 1]
    else:
        site.clock.advance(TTL_S + 10)
        assert site.spans.sweep() == 2
        site.archive()
        site.clock.advance(8 * DAY_S)
        site.spans.sweep()
    assert site.files() == []
    site.spans.depart(site.worker.info)
    site.clock.advance(DAY_S)
    assert left_over(site.redis) == set()


def test_a_process_that_dies_between_storing_and_dropping_loses_nothing(site: Site) -> None:
    job = finished(site.client, site.worker)
    whole = site.spans.whole(job.computation)
    assert whole is not None
    site.store.write(job.computation, whole[:100])  # it died in the middle: the ledger has the text still
    assert site.reader.text(job) == "a one a two a three"
    site.archive()
    assert site.reader.text(job) == "a one a two a three"


def test_nothing_leaves_the_ledger_for_a_disk_that_is_not_mounted(site: Site) -> None:
    job = finished(site.client, site.worker)
    site.clock.advance(3601)
    blobs = site.reader.settings.blob_dir
    blobs.rename(blobs.with_name("away"))
    blobs.mkdir()  # what was below the mount
    with pytest.raises(StorageUnavailable):
        site.archive()
    blobs.rmdir()
    blobs.with_name("away").rename(blobs)
    assert site.files() == []
    text = site.reader.text(job)
    site.archive()
    assert len(site.files()) == 1
    assert site.reader.text(job) == text


def test_what_is_deleted_while_it_is_stored_leaves_no_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = finished(site.client, site.worker)
    write = site.store.write

    def deleted_meanwhile(name: str, data: bytes) -> None:
        write(name, data)
        site.client.forget(job)

    monkeypatch.setattr(site.store, "write", deleted_meanwhile)
    Maintenance(
        site.spans, NoHints(), DiskBlobs(site.reader.settings.blob_dir), site.reader.settings, results=site.store
    ).archive(site.store)
    assert list(site.reader.settings.blob_dir.glob("results/??/*")) == []
    with pytest.raises(JobNotFound):
        site.client.get(job)


def test_a_file_that_no_computation_has_goes_in_the_daily_repair(site: Site) -> None:
    job = finished(site.client, site.worker)
    site.archive()
    site.store.write("f" * 32, b"left by a crash")
    for path in site.files():
        os.utime(path, (1.0, 1.0))
    patient = Retention(orphan_s=60)
    site.spans._client.delete("murmur:lock:repair results")
    care = Maintenance(
        site.spans,
        NoHints(),
        DiskBlobs(site.reader.settings.blob_dir),
        site.reader.settings.model_copy(update={"retention": patient}),
        results=site.store,
    )
    care.archive(site.store)
    assert [path.name for path in site.reader.settings.blob_dir.glob("results/??/*")] == [job.computation]


def test_an_expired_job_takes_one_entry_and_is_listed_last(site: Site) -> None:
    old = finished(site.client, site.worker, ttl_s=TTL_S)
    ended = site.client.get(old)
    site.clock.advance(TTL_S + 10)
    site.spans.sweep()
    young = site.client.new("b")
    assert not site.redis.exists(f"murmur:job:{old.id}")
    assert [key for key in site.redis.keys("murmur:*") if old.id in key] == []
    buried = site.client.get(old)
    assert buried.status is Status.EXPIRED
    assert buried.created_at == pytest.approx(ended.created_at, abs=1)
    assert site.client.listed() == [young.id, old.id]
    assert site.client.listed(status=Status.EXPIRED) == [old.id]
    assert site.client.listed(status=Status.QUEUED) == [young.id]
    pages: list[Page] = []
    while not pages or pages[-1].cursor:
        cursor = pages[-1].cursor if pages else None
        pages.append(
            site.client.ask(
                lambda jobs, cursor=cursor: jobs.list(tenant="default", status=None, limit=1, cursor=cursor)
            )
        )
    assert [job.id for page in pages for job in page.jobs] == [young.id, old.id]
    site.client.forget(old)
    with pytest.raises(JobNotFound):
        site.client.get(old)
    assert site.client.backlog().jobs[Status.EXPIRED] == 0


def test_results_are_read_over_http_from_an_encrypted_store(
    settings: Settings, client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, tmp_path: Path
) -> None:
    sealed = api_settings(settings.ledger.url.get_secret_value(), tmp_path).model_copy(
        update={"encryption": Encryption(key_file=str(key_file(tmp_path / "keys", "k1")))}
    )
    store = open_results(sealed)
    assert store is not None
    job = finished(client, worker)
    Maintenance(spans, NoHints(), DiskBlobs(sealed.blob_dir), sealed, results=store).archive(store)
    (path,) = sealed.blob_dir.glob("results/??/*")
    assert path.read_bytes().startswith(b"murmseal")
    with live_api(sealed) as api:
        assert api.get(f"/v1/jobs/{job.id}/result?format=text").text == "a one\na two\na three\n"
        assert "a three" in api.get(f"/v1/jobs/{job.id}/events").text
        path.unlink()
        lost = api.get(f"/v1/jobs/{job.id}/result?format=text")
        assert (lost.status_code, lost.json()["code"]) == (500, "result_lost")


def test_the_store_refuses_names_that_lead_elsewhere(store: ResultStore) -> None:
    for name in ("../../etc/passwd", "", "A" * 32):
        with pytest.raises(ResultLost):
            store.read(name)


def test_a_stored_result_stays_for_those_who_hold_it_however_often_another_one_leaves(site: Site) -> None:
    stays = finished(site.client, site.worker, ttl_s=3 * TTL_S)
    site.archive()
    goes, outcome = site.client.submit("a", ttl_s=TTL_S)
    assert outcome is Outcome.CACHED
    site.clock.advance(TTL_S + 10)
    assert site.spans.sweep() == 1
    site.client.forget(goes)
    gone, _ = site.client.submit("a")
    site.client.forget(gone)
    assert site.reader.text(stays) == "a one a two a three"
    site.client.forget(stays)
    site.archive()
    assert site.files() == []


def test_what_lies_under_a_result_s_name_and_is_another_one_s_is_not_given_out(site: Site) -> None:
    mine, theirs = finished(site.client, site.worker), finished(site.client, site.worker, "b")
    site.archive()
    site.store.write(mine.computation, site.store.read(theirs.computation))
    with pytest.raises(ResultLost, match="another one's"):
        site.reader.text(mine)
    assert site.reader.text(theirs) == "b one b two b three"
