"""Jobs end by their deadline, and a span that hangs is blamed by its own worker, not its neighbours by a lease."""

from dataclasses import replace

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from tests.live_api import live_api
from transcription.errors import JobFinished, Stopped
from transcription.job import Job, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


def code(client: LedgerClient, job: Job) -> str | None:
    failure = client.get(job).failure
    return failure.code if failure else None


def test_job_that_is_not_done_by_its_deadline_fails_and_stops_its_worker(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    waits, runs = client.new("b", deadline_s=60, priority="batch"), client.new("a", deadline_s=60)
    held = worker.claim()
    ledger_clock.advance(50)
    spans.renew([held])
    spans.reap()
    assert {client.status(job) for job in (waits, runs)} == {Status.QUEUED, Status.PROCESSING}
    ledger_clock.advance(20)
    spans.reap()
    assert [code(client, job) for job in (waits, runs)] == ["deadline_exceeded"] * 2
    assert {letter.computation for letter in client.letters()} == {waits.computation, runs.computation}
    with pytest.raises(Stopped):
        worker.finish(held)


def test_deadline_of_one_ticket_leaves_the_computation_to_the_others(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    late, patient = client.new("a", deadline_s=60), client.submit("a", tenant="other")[0]
    ledger_clock.advance(70)
    spans.reap()
    assert (client.status(late), code(client, late)) == (Status.FAILED, "deadline_exceeded")
    assert client.status(patient) is Status.QUEUED
    assert client.letters() == ()
    with pytest.raises(JobFinished):
        client.cancel(late)
    worker.work()
    assert client.status(patient) is Status.COMPLETED
    assert client.status(late) is Status.FAILED
    counts = client.backlog().jobs
    assert (counts[Status.FAILED], counts[Status.COMPLETED]) == (1, 1)
    client.forget(late)
    assert client.backlog().jobs[Status.FAILED] == 0


@pytest.mark.parametrize(
    ("left", "ends"),
    [
        ({"models": ("other",)}, True),
        ({"models": ("demo",), "withdrawn": ("demo",)}, False),  # in quarantine: it returns
        ({"models": ("demo",)}, False),
        (None, False),  # nobody lives
    ],
)
def test_jobs_of_a_model_that_was_withdrawn_end_with_a_code(
    client: LedgerClient,
    ledger_clock: LedgerClock,  # before the worker, whose scripts go by it
    worker: LedgerWorker,
    *,
    left: dict[str, tuple[str, ...]] | None,
    ends: bool,
) -> None:
    jobs, spans = [client.new("a"), client.new("b", priority="batch")], worker.spans
    spans.depart(worker.info)
    for _ in range(50):  # nearly seven hours
        if left is not None:
            spans.register(replace(worker.info, id="w2", **left))  # type: ignore[arg-type]
        assert spans.fail_unserved() in {0, 2 if ends else 0}
        ledger_clock.advance(500)
    assert [code(client, job) for job in jobs] == ["model_unavailable" if ends else None] * 2
    assert len(client.letters()) == (2 if ends else 0)


def test_model_is_not_taken_for_withdrawn_because_nobody_looked(
    client: LedgerClient, ledger_clock: LedgerClock, worker: LedgerWorker
) -> None:
    job, spans = client.new("a"), worker.spans
    spans.depart(worker.info)
    for _ in range(3):
        spans.register(replace(worker.info, id="w2", models=("other",)))
        assert spans.fail_unserved() == 0
        ledger_clock.advance(5 * 3600)
    assert client.status(job) is Status.QUEUED


def test_job_that_is_done_has_no_deadline_any_more(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    job = client.new("a", deadline_s=60)
    worker.work()
    ledger_clock.advance(70)
    spans.reap()
    assert client.status(job) is Status.COMPLETED
    assert not ledger_clock.redis.exists("murmur:deadlines")


def test_jobs_have_the_deadline_of_their_priority_unless_they_name_one(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter, options in (("a", {}), ("b", {"priority": "batch"}), ("c", {"deadline_s": 5})):
        client.new(letter, **options)
    redis = worker.spans._client
    now = redis.time()[0]
    deadlines: list[tuple[str, float]] = redis.zrange("murmur:deadlines", 0, -1, withscores=True)
    due = sorted(round(score / 1000 - now) for _, score in deadlines)
    assert due == pytest.approx([5, 86_400, 7 * 86_400], abs=2)


def test_watcher_hears_of_a_missed_deadline(
    settings: Settings, client: LedgerClient, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    late = client.new("a", deadline_s=60)
    client.submit("a")
    ledger_clock.advance(70)
    spans.reap()
    with live_api(settings) as api:
        told = api.get(f"/v1/jobs/{late.id}/events").text
        assert "deadline_exceeded" in told
        assert api.get(f"/v1/jobs/{late.id}").json()["error"]["code"] == "deadline_exceeded"


def test_hung_span_is_charged_and_its_neighbours_are_handed_back_without_blame(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans
) -> None:
    for letter in "abc":
        client.new(letter)
    hung, *neighbours = [worker.claim() for _ in "abc"]
    assert spans.hung(worker.name, [hung]) == 1
    for held in neighbours:
        spans.release(held)
    again = {held.audio_sha256: held for held in (worker.claim() for _ in "abc")}
    assert {held.audio_sha256[0] for held in again.values() if held.suspect} == {hung.audio_sha256[0]}
    assert again[hung.audio_sha256].attempt == 2
    assert {again[held.audio_sha256].attempt for held in neighbours} == {1}
