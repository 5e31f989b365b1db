"""Webhooks while the ledger is away or answers oddly: every message is delivered, and no place is lost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings
from tests.platform import eventually
from tests.receiver import Receiver, receiving, status
from transcription.errors import LedgerUnavailable
from transcription.housekeeping import webhook_dispatcher
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.ledger.tenants.webhook_secrets import RedisWebhookSecrets
from transcription.ledger.webhook_outbox import RedisOutbox
from transcription.settings import Settings
from transcription.settings.outbound import Outbound, Webhook

AWAY = LedgerUnavailable("the ledger is away", retry_after_s=1)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(webhook_dispatcher, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(webhook_dispatcher, "LEASE_MARGIN_S", 0.5)
    monkeypatch.setattr(webhook_dispatcher, "FIRST_RETRY_S", 0.02)
    quick = Webhook.model_validate({"timeout_s": 1.0, "give_up_s": 60})
    outbound = Outbound(allow_private_addresses=True)
    return api_settings(redis_url, tmp_path).model_copy(update={"webhook": quick, "outbound": outbound})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@contextlib.contextmanager
def dispatching(settings: Settings) -> Iterator[WebhookDispatcher]:
    thread = WebhookDispatcher(settings)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        thread.join(15)
        assert not thread.is_alive()


def finished(settings: Settings, url: str, letters: str = "a") -> None:
    """Jobs that have ended, and of which the receiver is to be told."""
    client = LedgerClient(settings)
    with connect(settings.ledger) as redis:
        worker = LedgerWorker(RedisSpans(redis, settings))
        for letter in letters:
            client.new(letter, webhook_url=url)
            worker.work()


def failing(monkeypatch: pytest.MonkeyPatch, name: str, *errors: Exception) -> list[Exception]:
    """Let the next calls of the outbox fail so; what is left of the errors."""
    left = list(errors)
    real = getattr(RedisOutbox, name)

    async def call(self: RedisOutbox, *args: Any, **keywords: Any) -> Any:
        if left:
            raise left.pop(0)
        return await real(self, *args, **keywords)

    monkeypatch.setattr(RedisOutbox, name, call)
    return left


def test_a_ledger_that_is_away_when_a_message_is_signed_is_one_line_in_the_log(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(settings, receiver.url)
    away, signing = [AWAY], RedisWebhookSecrets.signing

    async def call(self: RedisWebhookSecrets, tenant: str) -> list[str]:
        if away:
            raise away.pop()
        return await signing(self, tenant)

    monkeypatch.setattr(RedisWebhookSecrets, "signing", call)
    with capture_logs() as lines, dispatching(settings):
        eventually(lambda: len(receiver.received) == 1, 30)
    said = [line for line in lines if line["event"] == "webhook"]
    assert said[0]["error"] == AWAY.message
    assert not any("exc_info" in line for line in said)


@pytest.mark.parametrize("error", [AWAY, RuntimeError("nobody foresaw this")])
def test_messages_are_delivered_once_the_ledger_can_be_asked_again(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    finished(settings, receiver.url)
    left = failing(monkeypatch, "claim", error, error, error)
    with dispatching(settings):
        eventually(lambda: not left)
        eventually(lambda: len(receiver.received) == 1, 30)


@pytest.mark.parametrize("error", [AWAY, RuntimeError("nobody foresaw this")])
def test_delivery_that_could_not_be_written_down_comes_again_under_its_id(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    finished(settings, receiver.url)
    real = RedisOutbox.settle

    async def settle(self: RedisOutbox, *args: Any, **keywords: Any) -> Any:
        if len(receiver.received) < 2:  # also where a busy machine's receiver was too slow for the first try
            raise error
        return await real(self, *args, **keywords)

    monkeypatch.setattr(RedisOutbox, "settle", settle)
    with dispatching(settings):
        eventually(lambda: len(receiver.received) >= 2, 60)
        client = LedgerClient(settings)
        (job,) = client.listed()

        def state() -> list[str]:
            log = client.outbox(lambda box: box.log(job, tenant="default"))
            return [message.state for message in log.messages]

        eventually(lambda: state() == ["delivered"], 30)
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1


def test_place_of_every_delivery_is_given_back_however_it_ended(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_dispatcher, "AT_ONCE", 1)
    receiver.answers.extend([status(500), receiver.hang, status(301)])
    finished(settings, receiver.url, "abc")
    finished(settings, "http://127.0.0.1:1/nobody-listens", "01")
    with dispatching(settings):
        eventually(lambda: len({got.headers["webhook-id"] for got in receiver.received}) == 3, 60)


def test_who_is_told_to_stop_waits_for_no_pause_between_two_looks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_dispatcher, "LONGEST_S", 600.0)
    thread = WebhookDispatcher(settings)
    thread.start()
    with connect(settings.ledger) as redis:
        eventually(lambda: any(one["name"] == "" and "evalsha" in one["cmd"] for one in redis.client_list()))
    thread.stop()
    thread.join(30)
    assert not thread.is_alive()
