"""Who joins a computation waits no longer than alone, jumps no queue, and keeps that place when others leave."""

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from transcription.job import Job, Outcome


def joined(client: LedgerClient, letter: str, **how: str) -> Job:
    job, outcome = client.submit(letter, **how)
    assert outcome is Outcome.JOINED
    return job


def order(worker: LedgerWorker, count: int) -> str:
    """The recordings that are claimed next, a letter each."""
    return "".join(worker.claim().audio_sha256[0] for _ in range(count))


def position(client: LedgerClient, job: Job) -> int | None:
    queue = client.get(job).queue
    return queue.position if queue else None


def test_interactive_job_that_joins_batch_work_goes_before_all_batch_work_and_after_those_that_came_first(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter in "ab":
        client.new(letter, priority="batch")
    client.new("c")
    late = joined(client, "b")
    client.new("d")
    assert position(client, late) == 1
    assert order(worker, 4) == "cbda"


def test_batch_work_is_batch_work_again_when_the_interactive_job_that_joined_it_leaves(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    first = client.new("a", priority="batch")
    client.new("b", priority="batch")
    hurried = joined(client, "a")
    client.new("c")
    client.cancel(hurried)
    assert position(client, first) == 1
    assert order(worker, 3) == "cab"


def test_job_that_joins_what_waits_behind_another_tenants_heap_waits_as_its_own_tenant_does(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter in "abcde":
        client.new(letter, tenant="hoarder")
    joined(client, "e", tenant="newcomer")
    assert "e" in order(worker, 2)


def test_job_whose_tenant_has_a_heap_of_its_own_makes_nobody_wait_longer(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    for letter in "bcde":
        client.new(letter, tenant="hoarder")
    client.new("a", tenant="newcomer")
    joined(client, "a", tenant="hoarder")
    assert "a" in order(worker, 2)


@pytest.mark.parametrize("leaves", ["canceled", "deleted"])
def test_job_that_joined_keeps_its_own_place_when_the_first_one_leaves(
    client: LedgerClient, worker: LedgerWorker, leaves: str
) -> None:
    first = client.new("a")
    client.new("b")
    stays = joined(client, "a")
    client.new("c")
    client.cancel(first) if leaves == "canceled" else client.forget(first)
    assert position(client, stays) == 1
    assert order(worker, 3) == "bac"


def test_who_leaves_without_having_given_the_place_changes_nothing(client: LedgerClient, worker: LedgerWorker) -> None:
    client.new("a")
    second = joined(client, "a")
    client.new("b")
    client.cancel(second)
    assert order(worker, 2) == "ab"


def test_place_of_what_is_in_work_changes_hands_without_losing_count(
    client: LedgerClient, worker: LedgerWorker
) -> None:
    first = client.new("a", tenant="one", priority="batch")
    held = worker.claim()
    worker.prepare(held, (4.0, 10.0))
    joined(client, "a", tenant="two")
    client.cancel(first)
    worker.write(held, 0, " half", audio_s=4.0)
    worker.finish(held)
    worker.finish(worker.claim())
    backlog = client.backlog()
    assert (backlog.pending_spans, backlog.pending_audio_s, backlog.running_spans) == (0, 0.0, 0)
    assert not worker.spans._client.hgetall("murmur:running")
