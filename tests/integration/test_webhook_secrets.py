"""Each tenant's webhooks are signed by secrets of its own, which it makes, sees once, and exchanges without a gap."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from murmur.client.webhook import verify_webhook
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import live_api
from tests.platform import eventually
from tests.receiver import Received, receiving
from tests.secured_api import bearer, settings_for
from transcription.access import Scope
from transcription.housekeeping import webhook_dispatcher
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.settings import Settings
from transcription.settings.outbound import Outbound, Webhook
from transcription.webhook import signatures

PLATFORMS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    changes = {
        "webhook": Webhook.model_validate({"secrets": [PLATFORMS]}),
        "outbound": Outbound(allow_private_addresses=True),
    }
    return settings_for(redis_url, tmp_path, audit_log=str(tmp_path / "audit.jsonl")).model_copy(update=changes)


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(webhook_dispatcher, "POLL_INTERVAL_S", 0.02)
    dispatcher = WebhookDispatcher(settings)
    dispatcher.start()
    with live_api(settings) as client:
        yield client
    dispatcher.stop()
    dispatcher.join(10)


def signed_by(message: Received, *secrets: str) -> bool:
    stamp = int(message.headers["webhook-timestamp"])
    wanted = signatures(secrets, message.headers["webhook-id"], stamp, message.body).split()
    return sorted(message.headers["webhook-signature"].split()) == sorted(wanted)


def test_a_tenant_s_own_secrets_sign_its_messages_alone_and_can_be_exchanged(
    api: httpx.Client, worker: LedgerWorker, redis_url: str
) -> None:
    ours, theirs = bearer(redis_url, "acme", Scope.ADMIN), bearer(redis_url, "umbrella", Scope.ADMIN)
    with receiving() as receiver:

        def message(key: dict[str, str]) -> Received:
            before = len(receiver.received)
            form = {"webhook_url": receiver.url}
            answer = api.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(0.2))}, data=form, headers=key)
            if not answer.json()["cached"]:
                worker.work()
            eventually(lambda: len(receiver.received) > before)
            return receiver.received[before]

        assert signed_by(message(ours), PLATFORMS)
        first = api.post("/v1/webhook-secrets", headers=ours)
        assert first.status_code == 201
        assert signed_by(message(ours), first.json()["secret"])
        assert signed_by(message(theirs), PLATFORMS)
        second = api.post("/v1/webhook-secrets", headers=ours).json()
        assert signed_by(message(ours), first.json()["secret"], second["secret"])
        assert api.delete(f"/v1/webhook-secrets/{first.json()['id']}", headers=ours).status_code == 204
        assert signed_by(message(ours), second["secret"])


def test_a_secret_is_shown_once_to_an_admin_of_its_tenant(api: httpx.Client, redis_url: str, tmp_path: Path) -> None:
    admin, other = bearer(redis_url, "acme", Scope.ADMIN), bearer(redis_url, "umbrella", Scope.ADMIN)
    submits = bearer(redis_url, "acme", Scope.SUBMIT, Scope.READ)
    assert api.post("/v1/webhook-secrets", headers=submits).status_code == 403
    made = api.post("/v1/webhook-secrets", headers=admin).json()
    assert made["secret"] not in api.get("/v1/webhook-secrets", headers=admin).text
    assert api.get("/v1/webhook-secrets", headers=other).json() == {"secrets": []}
    path = f"/v1/webhook-secrets/{made['id']}"
    assert api.delete(path, headers=submits).status_code == 403
    assert (api.delete(path, headers=other).status_code, api.delete(path, headers=admin).status_code) == (404, 204)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    told = [(line["action"], line["tenant"]) for line in lines if line.get("secret") == made["id"]]
    assert told == [("webhook secret made", "acme"), ("webhook secret deleted", "acme")]


def test_a_tenant_has_so_many_secrets_only(api: httpx.Client, redis_url: str) -> None:
    admin = bearer(redis_url, "acme", Scope.ADMIN)
    statuses = [api.post("/v1/webhook-secrets", headers=admin).status_code for _ in range(6)]
    assert statuses == [201] * 5 + [429]


def test_a_tenant_may_have_its_messages_signed_by_a_key_whose_private_half_nobody_is_shown(
    api: httpx.Client, worker: LedgerWorker, redis_url: str
) -> None:
    admin = bearer(redis_url, "acme", Scope.ADMIN)
    made = api.post("/v1/webhook-secrets", params={"signature": "v1a"}, headers=admin)
    assert made.status_code == 201
    assert made.json()["secret"] is None
    public = made.json()["public_key"]
    assert public.startswith("whpk_")
    listed = api.get("/v1/webhook-secrets", headers=admin)
    assert [one["public_key"] for one in listed.json()["secrets"]] == [public]
    assert "whsk_" not in made.text + listed.text
    with receiving() as receiver:
        form = {"webhook_url": receiver.url}
        api.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(0.2))}, data=form, headers=admin)
        worker.work()
        message = eventually(lambda: receiver.received and receiver.received[0])
    assert message.headers["webhook-signature"].startswith("v1a,")
    assert verify_webhook(message.body, message.headers, public)
    assert not verify_webhook(message.body + b" ", message.headers, public)
    assert api.post("/v1/webhook-secrets", params={"signature": "v2"}, headers=admin).status_code == 422
