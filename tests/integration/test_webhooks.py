"""Webhooks from the ledger's outbox to a receiver that fails, hangs, redirects, drips, and says 410."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from demo import SAMPLES
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings
from tests.platform import eventually, running_platform
from tests.receiver import Receiver, receiving, status
from transcription.housekeeping import webhook_dispatcher
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.ledger import webhook_outbox
from transcription.settings import Api, Lease, Settings
from transcription.settings.outbound import Outbound, Webhook
from transcription.webhook import signatures

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "QUFB" * 8)
QUICK = Webhook.model_validate({"secrets": SECRETS, "timeout_s": 2, "give_up_s": 60})


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    outbound = Outbound(allow_private_addresses=True)
    return api_settings(redis_url, tmp_path).model_copy(update={"webhook": QUICK, "outbound": outbound})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@contextmanager
def dispatchers(settings: Settings, count: int = 1) -> Iterator[None]:
    threads = [WebhookDispatcher(settings) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(10)


@pytest.fixture
def dispatcher(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(webhook_dispatcher, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(webhook_dispatcher, "FIRST_RETRY_S", 0.001)
    with dispatchers(settings):
        yield


def submit(api: httpx.Client, url: str) -> str:
    answer = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(2.0))}, data={"webhook_url": url})
    assert answer.status_code in (200, 202), answer.text
    job_id: str = answer.json()["id"]
    return job_id


def log(api: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/jobs/{job_id}/webhooks").json()
    return found


def settled(api: httpx.Client, job_id: str) -> dict[str, Any]:
    """The log once no message is pending."""

    def found() -> dict[str, Any] | None:
        now = log(api, job_id)
        return now if now["messages"] and all(one["state"] != "pending" for one in now["messages"]) else None

    told = eventually(found)
    assert told is not None
    return told


@pytest.mark.usefixtures("dispatcher")
def test_completed_job_is_told_once_with_signatures_of_every_secret(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver
) -> None:
    job_id = submit(api, receiver.url)
    assert log(api, job_id) == {"url": receiver.url, "messages": [], "tries": []}
    worker.work()
    (message,) = settled(api, job_id)["messages"]
    (got,) = receiver.received
    assert json.loads(got.body)["type"] == "job.completed"
    assert json.loads(got.body)["data"] == {"id": job_id, "status": "completed"}
    assert (got.headers["webhook-id"], message["state"]) == (message["id"], "delivered")
    stamp = int(got.headers["webhook-timestamp"])
    assert abs(got.at - stamp) < 5
    assert got.headers["webhook-signature"] == signatures(SECRETS, message["id"], stamp, got.body)
    assert got.headers["content-type"] == "application/json"


@pytest.mark.usefixtures("dispatcher")
def test_every_ending_is_told_the_cached_one_too(api: httpx.Client, worker: LedgerWorker, receiver: Receiver) -> None:
    told = [submit(api, receiver.url)]
    api.post(f"/v1/jobs/{told[0]}/cancel")
    told.append(submit(api, receiver.url))
    worker.fail()
    told.append(submit(api, receiver.url))
    told.append(submit(api, receiver.url))
    worker.work()
    told.append(submit(api, receiver.url))
    eventually(lambda: len(receiver.received) == 5)
    bodies = {body["data"]["id"]: body for body in (json.loads(got.body) for got in receiver.received)}
    assert [bodies[job_id]["type"].removeprefix("job.") for job_id in told] == [
        "canceled", "failed", "completed", "completed", "completed",
    ]  # fmt: skip
    assert bodies[told[1]]["data"]["error"] == "engine_failed"


@pytest.mark.usefixtures("dispatcher")
def test_message_is_tried_again_under_its_id_until_it_is_taken(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver
) -> None:
    receiver.answers += [status(500), status(302, location="/elsewhere"), status(429), receiver.hang, receiver.drip]
    job_id = submit(api, receiver.url)
    worker.work()
    told = settled(api, job_id)
    assert [(one["outcome"], one["status"]) for one in told["tries"]] == [
        ("failed", 500), ("failed", 302), ("failed", 429), ("failed", None), ("failed", None), ("delivered", 204),
    ]  # fmt: skip
    assert "MURMUR_WEBHOOK__TIMEOUT_S" in told["tries"][3]["error"]
    assert {got.headers["webhook-id"] for got in receiver.received} == {told["messages"][0]["id"]}
    assert {got.path for got in receiver.received} == {"/hook"}
    assert len({got.body for got in receiver.received}) == 1


@pytest.mark.usefixtures("dispatcher")
def test_receiver_that_asks_for_a_pause_has_it(api: httpx.Client, worker: LedgerWorker, receiver: Receiver) -> None:
    receiver.answers += [status(503, retry_after="1")]
    submit(api, receiver.url)
    worker.work()
    eventually(lambda: len(receiver.received) == 2)
    first, second = (got.at for got in receiver.received)
    assert second - first > 0.9


@pytest.mark.usefixtures("dispatcher")
def test_receiver_that_says_410_hears_no_more_until_a_replay(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver
) -> None:
    receiver.answers += [status(410)]
    job_id = submit(api, receiver.url)
    worker.work()
    assert settled(api, job_id)["messages"][0]["state"] == "gone"
    (unsent,) = settled(api, submit(api, receiver.url))["tries"]
    assert (unsent["outcome"], unsent["attempt"]) == ("gone", None)
    assert settled(api, submit(api, f"{receiver.url}/other"))["messages"][0]["state"] == "delivered"
    assert [got.path for got in receiver.received] == ["/hook", "/hook/other"]
    assert api.post(f"/v1/jobs/{job_id}/webhooks/replay").status_code == 202
    eventually(lambda: len(receiver.received) == 3)
    assert settled(api, job_id)["messages"][0]["state"] == "delivered"


def test_old_message_is_given_up_and_can_be_replayed_under_its_id(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver, redis_server: Redis, settings: Settings
) -> None:
    receiver.answers += [status(500)]
    job_id = submit(api, receiver.url)
    worker.work()
    (message,) = log(api, job_id)["messages"]
    redis_server.hset(f"murmur:hook:{message['id']}", "since", 1)
    with dispatchers(settings):
        (message,) = settled(api, job_id)["messages"]
        assert (message["state"], message["next_try_at"], redis_server.zcard("murmur:outbox")) == ("failed", None, 0)
        (replayed,) = api.post(f"/v1/jobs/{job_id}/webhooks/replay").json()["messages"]
        assert replayed["id"] == message["id"]
        assert settled(api, job_id)["messages"][0]["state"] == "delivered"
    assert [got.headers["webhook-id"] for got in receiver.received] == [message["id"]] * 2


@pytest.mark.usefixtures("dispatcher")
def test_deleted_job_takes_its_messages_with_it(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver, redis_server: Redis
) -> None:
    receiver.answers += [status(500)] * 100
    job_id = submit(api, receiver.url)
    worker.work()
    eventually(lambda: len(receiver.received) > 1)
    api.delete(f"/v1/jobs/{job_id}")
    eventually(lambda: redis_server.zcard("murmur:outbox") == 0)
    assert not redis_server.keys("murmur:hook*")
    assert api.get(f"/v1/jobs/{job_id}/webhooks").status_code == 404
    assert api.post(f"/v1/jobs/{job_id}/webhooks/replay").status_code == 404


def test_job_without_a_webhook_has_nothing_to_replay(api: httpx.Client) -> None:
    job_id = api.post("/v1/jobs", files={"file": audio_files.wav()}).json()["id"]
    refused = api.post(f"/v1/jobs/{job_id}/webhooks/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_webhook")
    assert log(api, job_id) == {"url": None, "messages": [], "tries": []}


def test_webhook_that_leads_inside_is_never_sent(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver, settings: Settings
) -> None:
    job_id = submit(api, receiver.url)
    worker.work()
    with dispatchers(settings.model_copy(update={"outbound": Outbound()})):
        told = settled(api, job_id)
    assert told["messages"][0]["state"] == "failed"
    (tried,) = told["tries"]  # no later look would find it allowed
    assert "MURMUR_OUTBOUND__ALLOW_PRIVATE_ADDRESSES" in tried["error"]
    assert receiver.received == []


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_dispatcher, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(webhook_outbox, "NO_PLACE_S", 0.02)


@pytest.mark.usefixtures("_no_pauses")
def test_several_dispatchers_send_each_message_once(
    api: httpx.Client, worker: LedgerWorker, receiver: Receiver, settings: Settings, redis_server: Redis
) -> None:
    jobs = [submit(api, receiver.url) for _ in range(20)]
    worker.work()
    patient = settings.model_copy(update={"webhook": Webhook(timeout_s=30)})
    with dispatchers(patient, 3):
        eventually(lambda: redis_server.zcard("murmur:outbox") == 0, 30)
    assert sorted(json.loads(got.body)["data"]["id"] for got in receiver.received) == sorted(jobs)


def test_message_of_a_worker_killed_in_mid_delivery_is_delivered_by_another(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers += [receiver.hang]
    quick = Webhook(timeout_s=2)
    with (
        running_platform(
            tmp_path,
            workers=2,
            api=Api(housekeeping=False),
            webhook=quick,
            outbound=Outbound(allow_private_addresses=True),
            lease=Lease(ttl_s=5, renew_s=1),
        ) as platform,
        platform.client() as client,
    ):
        job = client.submit(SAMPLES["short"].path, webhook_url=receiver.url)
        eventually(lambda: receiver.received, 60)
        os.kill(sender(platform.pids(), receiver.port), signal.SIGKILL)
        the_lease_ends(platform.redis_url, within_s=quick.timeout_s + webhook_dispatcher.LEASE_MARGIN_S)
        eventually(lambda: len(receiver.received) == 2, 40)
        assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
        assert client.wait(job.id).status.value == "completed"


def the_lease_ends(redis_url: str, *, within_s: float) -> None:
    """Let the time pass for which nobody else sends the message."""
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        ((message, due),) = redis.zrange("murmur:outbox", 0, -1, withscores=True)
        assert 0 < due / 1000 - time.time() <= within_s
        redis.zadd("murmur:outbox", {message: 1}, xx=True)


def sender(pids: dict[str, int], port: int) -> int:
    """The worker that has a connection to *port*."""

    def found() -> int | None:
        for name, pid in pids.items():
            if name.startswith("w"):
                for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):  # it has ended since
                        if any(link.raddr and link.raddr.port == port for link in process.net_connections("tcp")):
                            return process.pid
        return None

    pid = eventually(found)
    assert pid is not None
    return pid
