"""Webhook messages in the ledger: leased, retried, silenced by a 410, and logged."""

import pytest

from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import DAY_S, RECEIVER, end, settle
from tests.ledger_worker import LedgerWorker
from transcription.webhook import Verdict


def test_delivery_is_one_worker_s_for_its_lease_and_then_anybody_s(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    end(client, worker, "completed", webhook_url=RECEIVER)
    first = client.outbox(lambda box: box.claim(lease_s=25))
    assert first is not None
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(23)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(4)
    second = client.outbox(lambda box: box.claim(lease_s=25))
    assert second is not None
    assert (second.id, second.attempt, second.tries) == (first.id, 2, 2)
    # The first one was only slow: what it says now must not end what the second has in hand.
    settle(client, first, Verdict.DELIVERED, lost=True)
    settle(client, second, Verdict.FAILED, retry_in_s=60)
    ledger_clock.advance(58)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    ledger_clock.advance(4)
    third = client.outbox(lambda box: box.claim(lease_s=25))
    assert third is not None
    assert third.now - third.enqueued_at == pytest.approx(89, abs=5)
    settle(client, third, Verdict.DELIVERED)
    ledger_clock.advance(DAY_S)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None


def test_receiver_that_wants_no_more_is_left_alone_for_a_week(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    end(client, worker, "completed", webhook_url=RECEIVER)
    message = client.outbox(lambda box: box.claim(lease_s=25))
    settle(client, message, Verdict.GONE)
    cached, _ = client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    log = client.outbox(lambda box: box.log(cached.id, tenant="default"))
    assert ([one.state for one in log.messages], [one.outcome for one in log.tries]) == (["gone"], [Verdict.GONE])
    ledger_clock.advance(7 * DAY_S - 60)
    client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=25)) is None
    # Another receiver, and another tenant's receiver of that address, aren't meant.
    client.submit(webhook_url=RECEIVER + "other")
    assert client.outbox(lambda box: box.claim(lease_s=25)) is not None
    client.submit(webhook_url=RECEIVER, tenant="acme")
    assert client.outbox(lambda box: box.claim(lease_s=25)) is not None
    ledger_clock.advance(120)
    client.submit(webhook_url=RECEIVER)
    assert client.outbox(lambda box: box.claim(lease_s=DAY_S)) is not None


def test_log_of_deliveries_keeps_the_latest_fifty(
    client: LedgerClient, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    job = end(client, worker, "completed", webhook_url=RECEIVER)
    for _ in range(55):
        message = client.outbox(lambda box: box.claim(lease_s=25))
        settle(client, message, Verdict.FAILED, retry_in_s=1)
        ledger_clock.advance(2)
    log = client.outbox(lambda box: box.log(job.id, tenant="default"))
    assert [one.attempt for one in log.tries] == list(range(6, 56))
