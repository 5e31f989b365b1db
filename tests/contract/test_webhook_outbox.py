"""One contract for every Outbox: the ledger's, on each server and on fakeredis, and a double for what delivers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest
from redis import Redis

from tests.contract.ledgers import LEDGERS, beyond_fakeredis, ledger_of
from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_worker import LedgerWorker
from tests.memory_outbox import MemoryOutbox
from transcription.errors import JobNotFound, NoWebhook
from transcription.ledger.span_store import RedisSpans
from transcription.ports import Outbox
from transcription.webhook import Message, Verdict

T = TypeVar("T")
RECEIVER = "http://receiver.test/"


@dataclass
class Bench:
    """An outbox; how a job comes to its end, with a webhook or without, and how time passes."""

    ask: Callable[[Callable[[Outbox], Awaitable[T]]], T]
    ended: Callable[[str | None], str]
    advance: Callable[[float], None]

    def claim(self) -> Message | None:
        return self.ask(lambda box: box.claim(lease_s=25))

    def taken(self) -> Message:
        """The next message, which there must be."""
        found = self.claim()
        assert found is not None
        return found

    def settle(self, message: Message, verdict: Verdict, *, retry_in_s: float | None = None, status: int = 200) -> bool:
        return self.ask(
            lambda box: box.settle(message, verdict, retry_in_s=retry_in_s, status=status, error="", took_s=0.1)
        )


def in_memory() -> Bench:
    box = MemoryOutbox()
    numbers = iter(range(1000))

    def ended(url: str | None) -> str:
        job_id = f"j{next(numbers)}"
        box.end(job_id, url=url)
        return job_id

    def ask(question: Callable[[Outbox], Awaitable[T]]) -> T:
        async def run() -> T:
            return await question(box)

        return asyncio.run(run())

    def advance(seconds: float) -> None:
        box.now += seconds

    return Bench(ask, ended, advance)


@pytest.fixture(params=["memory", *LEDGERS])
def bench(request: pytest.FixtureRequest, moved_clock: Callable[[Redis], LedgerClock]) -> Iterator[Bench]:
    if request.param == "memory":
        yield in_memory()
        return
    ledger = ledger_of(request, request.param)
    jobs = LedgerClient(ledger.settings, ledger.async_client)
    letters = iter("abcdefghij")
    with ledger.client() as client:
        worker = LedgerWorker(RedisSpans(client, ledger.settings))

        def ended(url: str | None) -> str:
            job = jobs.new(next(letters), **({"webhook_url": url} if url else {}))
            worker.work()
            return job.id

        yield Bench(jobs.outbox, ended, moved_clock(client).advance)


@beyond_fakeredis("bench")
def test_message_is_one_s_for_its_lease_and_then_anybody_s(bench: Bench) -> None:
    assert bench.claim() is None
    job_id = bench.ended(RECEIVER)
    first = bench.taken()
    assert (first.job_id, first.url, first.status, first.attempt, first.tries) == (job_id, RECEIVER, "completed", 1, 1)
    assert bench.claim() is None
    bench.advance(30)
    second = bench.taken()
    assert (second.id, second.attempt, second.tries) == (first.id, 2, 2)
    # The first one was only slow: what it says now must not end what the second has in hand.
    assert not bench.settle(first, Verdict.DELIVERED)
    assert bench.settle(second, Verdict.DELIVERED)
    bench.advance(3600)
    assert bench.claim() is None


@beyond_fakeredis("bench")
def test_failed_try_is_made_again_when_its_pause_is_over(bench: Bench) -> None:
    bench.ended(RECEIVER)
    assert bench.settle(bench.taken(), Verdict.FAILED, retry_in_s=60, status=500)
    bench.advance(50)
    assert bench.claim() is None
    bench.advance(20)
    again = bench.taken()
    assert again.attempt == 2
    assert again.now - again.enqueued_at == pytest.approx(70, abs=5)


@beyond_fakeredis("bench")
def test_log_tells_what_was_tried_and_what_became_of_it(bench: Bench) -> None:
    job_id = bench.ended(RECEIVER)
    message = bench.taken()
    bench.settle(message, Verdict.FAILED, retry_in_s=60, status=500)
    told = bench.ask(lambda box: box.log(job_id, tenant="default"))
    (delivery,) = told.messages
    assert (told.url, delivery.id, delivery.state, delivery.attempts) == (RECEIVER, message.id, "pending", 1)
    assert delivery.next_try_at is not None
    assert [(one.outcome, one.attempt, one.status) for one in told.tries] == [(Verdict.FAILED, 1, 500)]
    bench.advance(61)
    bench.settle(bench.taken(), Verdict.DELIVERED)
    told = bench.ask(lambda box: box.log(job_id, tenant="default"))
    assert (told.messages[0].state, told.messages[0].next_try_at) == ("delivered", None)
    assert [one.outcome for one in told.tries] == [Verdict.FAILED, Verdict.DELIVERED]


@beyond_fakeredis("bench")
def test_replay_sends_the_same_message_again_and_counts_its_tries_anew(bench: Bench) -> None:
    job_id = bench.ended(RECEIVER)
    first = bench.taken()
    bench.settle(first, Verdict.DELIVERED)
    bench.ask(lambda box: box.replay(job_id, tenant="default"))
    again = bench.taken()
    assert (again.id, again.tries) == (first.id, 1)
    assert again.attempt > first.attempt


def test_job_without_a_webhook_or_of_another_tenant_has_no_message(bench: Bench) -> None:
    job_id = bench.ended(None)
    assert bench.claim() is None
    assert bench.ask(lambda box: box.log(job_id, tenant="default")).messages == ()
    with pytest.raises(NoWebhook):
        bench.ask(lambda box: box.replay(job_id, tenant="default"))
    for question in ("log", "replay"):
        with pytest.raises(JobNotFound):
            bench.ask(lambda box, name=question: getattr(box, name)(job_id, tenant="other"))
