"""When a worker takes a step, and when it gives one up: no room, a cancel, SIGTERM."""

import threading

import pytest

from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from tests.scripted_engine import Script
from tests.worker_site import LONG, SHORT, Site
from transcription.errors import Stopped
from transcription.job import Status
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.observability.memory import Memory
from transcription.settings import Settings
from worker.consumer.span_results import GivenUp
from worker.health.admission import Admission


def test_a_worker_without_memory_for_a_second_span_leaves_it_to_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.submit(SHORT)
    site.submit(LONG)
    monkeypatch.setattr(site.worker, "_admission", Admission(lambda: Memory(total=1 << 30, used=1 << 30)))
    first = site.worker.take()
    assert first
    assert site.worker.take() is None
    site.worker.work(first.id)
    assert site.worker.take()


def test_a_span_is_shown_under_the_first_of_its_jobs_with_how_many_there_are(site: Site) -> None:
    first, second = sorted(site.submit(SHORT, priority=priority).id for priority in ("batch", "interactive"))
    taken = site.worker.take()
    assert taken
    assert (taken.id, taken.priority, taken.retries) == (f"{first}-0", "interactive", 0)
    assert (taken.shown["job"], taken.shown["jobs"]) == (first, 2)
    assert second not in str(taken.shown)
    site.worker.work(taken.id)
    site.submit(LONG)
    alone = site.worker.take()
    assert alone
    assert "jobs" not in alone.shown


@pytest.mark.parametrize("span_s", [80.0])
def test_job_that_nobody_wants_any_more_is_left_in_the_middle_of_a_span(site: Site, script: Script) -> None:
    job = site.submit(LONG, language="en")

    def cancel(number: int) -> None:
        assert not script.cancelled()
        if number == 1:
            site.client.cancel(job)
            # The engine can ask, and what it has computed meanwhile is the last.
            eventually(script.cancelled)

    script.before = cancel
    assert site.steps() == 0
    assert len(script.windows) == 2
    assert site.client.status(job) is Status.CANCELED
    assert site.worker._leases.holding() == []
    assert site.client.backlog().running_spans == 0


@pytest.mark.parametrize(("told", "canceled"), [("cancel", True), ("stop", False)])
def test_celery_hears_of_a_canceled_span_and_of_one_that_was_handed_back_what_each_is(
    site: Site, script: Script, monkeypatch: pytest.MonkeyPatch, told: str, canceled: bool
) -> None:
    job = site.submit(SHORT, language="en")

    def tell(_: int) -> None:
        if told == "cancel":
            site.client.cancel(job)
        else:
            site.worker.stop()
            eventually(script.cancelled)
            raise Stopped("as every engine does")

    monkeypatch.setattr(site.worker._leases, "_renew", lambda: None)  # the span's own write hears of it first
    script.before = tell
    taken = site.worker.take()
    assert taken
    with pytest.raises(GivenUp) as end:
        site.worker.work(taken.id)
    assert end.value.canceled is canceled


@pytest.mark.parametrize("span_s", [20.0])
def test_half_of_the_places_stay_free_for_recordings_that_nobody_works_on(site: Site, script: Script) -> None:
    site.submit(LONG, language="en")
    entered, gate = threading.Semaphore(0), threading.Event()

    def wait(number: int) -> None:
        if number == 0:
            entered.release()
            assert gate.wait(60)

    site.step()  # it is cut, and its first span done
    script.before = wait
    threads = [threading.Thread(target=site.step) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    try:
        assert len(site.worker._leases.holding()) == 2
        # One span of the recording waits among the first where nobody is on it; the others wait for idle workers.
        assert site.step() is None
    finally:
        gate.set()
        for thread in threads:
            thread.join(60)


def test_stopped_worker_claims_nothing_and_its_span_goes_on_elsewhere(
    site: Site, script: Script, settings: Settings, ended: list[int]
) -> None:
    job = site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    assert site.step() is None
    with connect(settings.ledger) as redis:
        other = LedgerWorker(RedisSpans(redis, settings), "w2")
        again = other.claim()
        assert (again.computation, again.attempt, again.alone) == (job.computation, 1, False)
    eventually(lambda: ended == [0])


@pytest.mark.parametrize("drain_s", [60.0])
def test_stopped_worker_with_time_to_finish_claims_nothing_more_and_ends_when_its_span_is_done(
    site: Site, script: Script, ended: list[int]
) -> None:
    first, second = site.submit(SHORT, language="en"), site.submit(LONG, language="en")

    def stop(_: int) -> None:
        script.before = lambda _: None
        site.worker.stop()
        # The ledger hears of it at once, so that an autoscaler doesn't count on this worker.
        eventually(lambda: [one.draining for one in site.client.backlog().workers] == [True])
        assert site.worker.take() is None
        assert not ended

    script.before = stop
    assert site.step()
    assert site.client.get(first).status is Status.COMPLETED
    eventually(lambda: ended == [0])
    assert site.client.backlog().workers == ()
    assert site.client.get(second).status is Status.QUEUED


@pytest.mark.parametrize("drain_s", [60.0])
def test_worker_that_is_told_to_stop_twice_hands_its_span_back_at_once(
    site: Site, script: Script, ended: list[int]
) -> None:
    job = site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    eventually(lambda: ended == [0])
    assert site.client.get(job).status is not Status.COMPLETED


@pytest.mark.parametrize("drain_s", [0.3])
def test_span_that_outlasts_the_time_to_finish_goes_back(site: Site, script: Script, ended: list[int]) -> None:
    site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    eventually(lambda: ended == [0])
    assert site.client.backlog().pending_spans == 1
