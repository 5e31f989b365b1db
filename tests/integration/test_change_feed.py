"""The API's one listener: those who wait for a job and those who follow its events share a connection."""

from concurrent.futures import ThreadPoolExecutor

import httpx
from redis import Redis

from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from tests.sse import everything


def subscribed(redis: Redis) -> int:
    """How often anybody has subscribed since the server's figures were reset."""
    figures = redis.info("commandstats").get("cmdstat_subscribe", {"calls": 0})
    return int(figures["calls"])


def test_waiting_for_a_job_and_following_its_events_is_one_connection(
    api: httpx.Client, worker: LedgerWorker, redis_server: Redis
) -> None:
    redis_server.config_resetstat()
    job_id = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(2.0))}).json()["id"]
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: api.get(f"/v1/jobs/{job_id}", params={"wait": 30}).json())
        eventually(lambda: subscribed(redis_server) == 1)
        with api.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            told = stream.iter_lines()
            assert any("queued" in line for line in told)
            held = worker.claim()
            assert any("processing" in line for line in told)
            worker.prepare(held)
            worker.write(held, 0, " hello", audio_s=10.0)
            worker.finish(held)
            assert any("completed" in line for line in told)
        assert waiting.result(30)["status"] == "completed"
    assert everything(api, job_id)
    assert subscribed(redis_server) == 1
