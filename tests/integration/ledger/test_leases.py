"""Leases: how long one lasts, and what a worker that has lost its own may still write."""

from collections.abc import Callable

import pytest
from redis import Redis

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import CORRUPT
from tests.ledger_steps import TIMING, WHOLE, ask, claim, complete, expire_leases, job, submission, submit
from tests.ledger_worker import LedgerWorker, dies, nothing_for
from transcription.computation import Claim
from transcription.errors import LeaseLost, Stopped
from transcription.job import Failure, Status
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from transcription.transcript import Segment

THIRDS = (4.0, 7.0, 10.0)


def test_a_stale_token_can_write_nothing(settings: Settings, spans: RedisSpans, redis_server: Redis) -> None:
    submit(settings, submission())
    old = claim(spans, "w1")
    spans.reap()
    expire_leases(redis_server)
    redis_server.hset("murmur:config", "grace", 0)
    assert spans.reap() == 1
    assert not spans.renew([old])[old.token].held
    assert not redis_server.exists("murmur:leases")  # renewing has taken nothing back
    new = claim(spans, "w2")
    assert new.token > old.token
    for write in (
        lambda: spans.prepared(old, [WHOLE], language="en", probability=1.0),
        lambda: spans.append(old, [], window=0, audio_s=10.0),
        lambda: spans.finish(old, TIMING),
        lambda: spans.fail(old, Failure(code="x", message="x"), retry_in_s=None),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert not spans.renew([old])[old.token].held
    assert complete(spans, new)


def test_windows_that_a_lost_worker_wrote_are_not_computed_again(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    accepted, _ = submit(settings, submission())
    held = claim(spans)
    spans.prepared(held, [WHOLE], language="de", probability=0.9)
    spans.append(held, [Segment(1.0, 2.0, " Eins.")], window=0, audio_s=5.0)
    expire_leases(redis_server)
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    spans.reap()
    heir = claim(spans, "w2")
    assert (heir.windows_done, heir.language, heir.speech, heir.suspect) == (1, "de", WHOLE.speech, True)
    spans.append(heir, [Segment(1.0, 2.0, " Eins.")], window=0, audio_s=5.0)
    spans.append(heir, [Segment(6.0, 7.0, " Zwei.")], window=1, audio_s=10.0)
    spans.finish(heir, TIMING)
    done = job(settings, accepted.id)
    assert ask(settings, lambda jobs: jobs.transcript(done)).text == "Eins. Zwei."


def test_after_an_outage_leases_get_time_before_they_are_reaped(
    settings: Settings, spans: RedisSpans, redis_server: Redis
) -> None:
    submit(settings, submission())
    spans.reap()
    redis_server.hset("murmur:config", "grace", 0)
    claim(spans)
    redis_server.hset("murmur:config", "reaped", 1)  # nobody reaped for a long time
    expire_leases(redis_server)
    assert spans.reap() == 0
    redis_server.hset("murmur:config", "grace", 0)
    assert spans.reap() == 1


def test_lease_lasts_as_long_as_it_says_and_each_sign_of_progress_prolongs_it(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new()
    held = worker.claim()
    worker.prepare(held)
    ledger_clock.stop()

    def pass_time(seconds: int) -> int:
        # Somebody reaps all the time: a pause would count as an outage, after which leases get time.
        back = 0
        for _ in range(seconds):
            ledger_clock.advance(1)
            back += spans.reap()
        return back

    assert pass_time(18) == 0
    assert spans.renew([held])[held.token].held
    assert pass_time(18) == 0
    worker.write(held, 0, " hello", audio_s=5.0)
    assert pass_time(18) == 0
    assert pass_time(4) == 1
    with pytest.raises(LeaseLost):
        worker.finish(held)


def test_after_a_pause_in_which_nobody_reaped_leases_get_half_their_length(
    client: LedgerClient, worker: LedgerWorker, spans: RedisSpans, ledger_clock: LedgerClock
) -> None:
    client.new()
    worker.claim()
    ledger_clock.advance(3600)
    assert spans.reap() == 0
    for _ in range(8):
        ledger_clock.advance(1)
        assert spans.reap() == 0
    ledger_clock.advance(4)
    assert spans.reap() == 1


def _prepare(worker: LedgerWorker, held: Claim) -> None:
    worker.prepare(held)


def _write(worker: LedgerWorker, held: Claim) -> None:
    worker.write(held, 0, " stale", audio_s=10.0)


def _finish(worker: LedgerWorker, held: Claim) -> None:
    worker.finish(held)


def _fail(worker: LedgerWorker, held: Claim) -> None:
    worker.spans.fail(held, CORRUPT, retry_in_s=None)


WRITES = [_prepare, _write, _finish, _fail]


@pytest.mark.parametrize("write", WRITES)
def test_worker_that_lost_its_span_changes_nothing(
    client: LedgerClient, worker: LedgerWorker, write: Callable[[LedgerWorker, Claim], None]
) -> None:
    job = client.new()
    old = worker.claim()
    heir = dies(worker)
    with pytest.raises(LeaseLost):
        write(worker, old)
    new = heir.claim()
    with pytest.raises(LeaseLost):
        write(worker, old)
    worker.spans.release(old)
    assert not worker.spans.renew([old])[old.token].held
    assert worker.spans.renew([old, new])[new.token].held
    heir.prepare(new)
    heir.write(new, 0, " fresh", audio_s=10.0)
    heir.finish(new)
    assert client.text(job) == "fresh"
    assert client.status(job) is Status.COMPLETED


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("end", ["canceled", "failed", "deleted"])
def test_worker_of_what_nobody_wants_any_more_is_told_to_stop(
    client: LedgerClient, worker: LedgerWorker, end: str, write: Callable[[LedgerWorker, Claim], None]
) -> None:
    job = client.new()
    held = worker.claim()
    worker.prepare(held, THIRDS)
    extra = worker.claim()
    if end == "failed":
        worker.spans.fail(extra, CORRUPT, retry_in_s=None)
    else:
        (client.cancel if end == "canceled" else client.forget)(job)
    assert not worker.spans.renew([held])[held.token].wanted
    with pytest.raises(Stopped):
        write(worker, held)
    assert nothing_for(worker)
    assert client.backlog().running_spans == 0
