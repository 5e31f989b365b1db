"""A tenant whose receiver is dead holds up its own messages only."""

import itertools
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests import audio_files
from tests.ledger_client import LedgerClient
from tests.ledger_clock import AHEAD, LedgerClock
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from tests.receiver import receiving, status
from tests.secured_api import bearer, settings_for
from transcription.housekeeping import webhook_dispatcher
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.ledger import webhook_outbox
from transcription.settings import Api, Settings
from transcription.settings.outbound import Outbound, Webhook
from transcription.webhook import Message, Verdict

DEAD_MESSAGES = 100
MESSAGES, PAUSE_S, PAUSES = 20, 1.0, 3
TIMEOUT_S = 30.0


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(webhook_dispatcher, "POLL_INTERVAL_S", 0.02)
    changes = {
        "webhook": Webhook(timeout_s=TIMEOUT_S),
        "outbound": Outbound(allow_private_addresses=True),
        "api": Api(housekeeping=False),  # the test's own dispatchers alone
    }
    return settings_for(redis_url, tmp_path).model_copy(update=changes)


def submit(api: httpx.Client, key: dict[str, str], url: str) -> None:
    answer = api.post(
        "/v1/jobs", files={"file": ("a.wav", audio_files.wav(0.2))}, data={"webhook_url": url}, headers=key
    )
    assert answer.status_code in {200, 202}, answer.text


def test_a_dead_receiver_of_one_tenant_does_not_delay_another_s_message(
    api: httpx.Client, worker: LedgerWorker, settings: Settings, redis_url: str
) -> None:
    bad, good = bearer(redis_url, "bad"), bearer(redis_url, "good")
    with receiving() as dead, receiving() as alive:
        dead.answers.extend([dead.hang] * 1000)
        for _ in range(DEAD_MESSAGES):
            submit(api, bad, dead.url)
        worker.work()
        submit(api, good, alive.url)  # answered from the cache: it ends at once
        dispatcher = WebhookDispatcher(settings)
        dispatcher.start()
        try:
            # Everything of the dead one was due before; it would fill every place for as long as it is waited for.
            eventually(lambda: alive.received, within_s=TIMEOUT_S - 5)
            assert 0 < len(dead.received) <= webhook_outbox.OF_HOST
        finally:
            dispatcher.stop()
            dead.closing.set()
            dispatcher.join(20)


def test_a_silent_host_is_left_alone_and_tried_by_one_message_at_a_time(
    api: httpx.Client, worker: LedgerWorker, settings: Settings, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_outbox, "FIRST_PAUSE_S", PAUSE_S)
    monkeypatch.setattr(webhook_outbox, "NO_PLACE_S", 0.05)
    key = bearer(settings.ledger.url.get_secret_value(), "acme")
    quick = settings.model_copy(update={"webhook": Webhook(timeout_s=0.5)})
    with receiving() as host:
        answered: list[float] = []

        def silent_for_three_pauses(handler: BaseHTTPRequestHandler) -> None:
            (key,) = redis_server.keys("murmur:silent:*") or [""]
            if not answered and int(redis_server.hget(key, "times") or 0) < webhook_outbox.MAX_SILENCES + PAUSES - 1:
                return host.hang(handler)
            answered.append(time.time())
            return status(204)(handler)

        host.answers.extend([silent_for_three_pauses] * 10 * MESSAGES)
        for _ in range(MESSAGES):
            submit(api, key, host.url)
        worker.work()
        dispatcher = WebhookDispatcher(quick)
        dispatcher.start()
        try:
            eventually(lambda: len({one.headers["webhook-id"] for one in host.received}) == MESSAGES, within_s=90)
        finally:
            dispatcher.stop()
            host.closing.set()
            dispatcher.join(20)
        came = sorted(one.at for one in host.received)
        until_answered = [at for at in came if at <= answered[0]]
        # Each silent try is alone, and the pause after it twice as long as the one before. A busy machine's receiver
        # takes a request late, and the next one in time: half of a pause is enough.
        pauses = [later - earlier for earlier, later in itertools.pairwise(until_answered)][-PAUSES:]
        assert [pause > 2**n * PAUSE_S / 2 for n, pause in enumerate(pauses)] == [True] * PAUSES, pauses


def test_what_was_on_its_way_when_a_host_was_given_up_lengthens_no_pause(
    settings: Settings, worker: LedgerWorker, redis_server: Redis, ledger_clock: LedgerClock
) -> None:
    client = LedgerClient(settings)
    for letter in "abcdefgh":
        client.new(letter, webhook_url="http://receiver.test/")
        worker.work()

    def claimed(count: int) -> list[Message]:
        found = [client.outbox(lambda outbox: outbox.claim(lease_s=600)) for _ in range(count)]
        return [message for message in found if message]

    def unanswered(messages: list[Message]) -> None:
        said = {"retry_in_s": 5.0, "status": 0, "error": "no answer", "took_s": 15.0}
        for message in messages:  # fine: the claimed are counted
            assert client.outbox(lambda outbox, it=message: outbox.settle(it, Verdict.FAILED, **said))  # type: ignore[misc]

    def pause_s() -> float:
        (key,) = redis_server.keys("murmur:silent:*")
        until = float(redis_server.hget(key, "until") or 0)
        seconds, micros = redis_server.time()
        return until / 1000 - seconds - micros / 1e6 - int(redis_server.get(AHEAD) or 0)

    unanswered(claimed(webhook_outbox.OF_HOST))
    in_flight = claimed(webhook_outbox.OF_HOST)
    assert len(in_flight) == webhook_outbox.OF_HOST
    unanswered(in_flight[:1])
    assert pause_s() <= webhook_outbox.FIRST_PAUSE_S
    unanswered(in_flight[1:])
    assert pause_s() <= webhook_outbox.FIRST_PAUSE_S
    assert claimed(1) == []
    ledger_clock.advance(webhook_outbox.FIRST_PAUSE_S + 1)
    alone = claimed(2)
    assert len(alone) == 1
    unanswered(alone)
    assert webhook_outbox.FIRST_PAUSE_S < pause_s() <= 2 * webhook_outbox.FIRST_PAUSE_S + 1
