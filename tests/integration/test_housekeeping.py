"""Without any worker: jobs still miss their deadline and expire, webhooks still go out, and lost spans come back."""

from pathlib import Path

import pytest
from redis import Redis

from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.platform import eventually
from tests.receiver import receiving
from transcription.housekeeping import maintenance
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Api, Lease, Settings
from transcription.settings.outbound import Outbound


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(maintenance, "SWEEP_INTERVAL_S", 0.2)
    return api_settings(redis_url, tmp_path).model_copy(
        update={
            "api": Api(),
            "outbound": Outbound(allow_private_addresses=True),
            "lease": Lease(ttl_s=2.0, renew_s=0.5),
        }
    )


def test_a_job_that_nobody_claims_fails_at_its_deadline_tells_its_receiver_and_expires(settings: Settings) -> None:
    with live_api(settings) as api, receiving() as receiver:
        form = {"webhook_url": receiver.url, "deadline_s": "1", "ttl_s": "60"}
        job = api.post("/v1/jobs", files={"file": audio_files.wav()}, data=form).json()["id"]
        eventually(lambda: receiver.received, within_s=30)
        assert b'"status":"failed"' in receiver.received[0].body
        assert api.get(f"/v1/jobs/{job}").json()["error"]["code"] == "deadline_exceeded"


def test_a_canceled_job_expires_and_its_recording_goes(settings: Settings, redis_server: Redis) -> None:
    retention = settings.retention.model_copy(update={"result_ttl_s": 1})
    with live_api(settings.model_copy(update={"retention": retention})) as api:
        job = api.post("/v1/jobs", files={"file": audio_files.wav()}).json()["id"]
        api.post(f"/v1/jobs/{job}/cancel")
        eventually(lambda: api.get(f"/v1/jobs/{job}").json()["status"] == "expired", within_s=30)


def test_what_a_lost_worker_held_waits_for_the_next_one(settings: Settings) -> None:
    with live_api(settings) as api, connect(settings.ledger) as client:
        spans = RedisSpans(client, settings)
        worker = LedgerWorker(spans)
        job = api.post("/v1/jobs", files={"file": audio_files.wav()}).json()["id"]
        worker.claim()
        assert spans.pending() == 0
        eventually(spans.pending, within_s=30)
        assert api.get(f"/v1/jobs/{job}").json()["status"] == "processing"


def test_an_api_that_is_told_to_leave_it_to_others_does(settings: Settings) -> None:
    quiet = settings.model_copy(update={"api": Api(housekeeping=False)})
    with live_api(quiet) as api, connect(settings.ledger) as client:
        assert api.get("/health/live").status_code == 200
        assert RedisSpans(client, settings).lock("reap", seconds=1)
