"""The job API on a real ledger: dedup, lifecycle, long-polls, pages, and what happens while the ledger is away."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from redis import Redis
from structlog.testing import capture_logs

from tests import audio_files
from tests.live_api import api_settings, live_api
from tests.platform import eventually, running_ledger
from transcription.computation import Timing
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment, Word


@pytest.fixture
def worker(settings: Settings) -> Iterator["Worker"]:
    with connect(settings.ledger) as client:
        yield Worker(RedisSpans(client, settings))


class Worker:
    """A worker's hand on the ledger, without a model."""

    def __init__(self, spans: RedisSpans) -> None:
        self.spans = spans
        spans.register(
            WorkerInfo(
                id="w1",
                models=("demo",),
                engine="none",
                device="cpu",
                compute_type="int8",
                slots=1,
                host="here",
                pid=1,
                started_at=1.0,
                rate=2.0,
            )
        )

    def work(self, *, finish: bool = True) -> None:
        """Take the next span and write «hello world» of it."""
        claim = self.spans.claim("w1", models=("demo",), extras=True)
        assert claim is not None
        piece = Piece(Span(0.0, 2.0), (Span(0.0, 2.0),))
        self.spans.prepared(claim, [piece], language="en", probability=0.9)
        words = (Word(0.0, 0.8, " hello", 0.9), Word(0.9, 2.0, " world", 0.8))
        self.spans.append(claim, [Segment(0.0, 2.0, " hello world", words=words)], window=0, audio_s=2.0)
        if finish:
            self.spans.finish(claim, Timing(audio_s=2.0, compute_s=0.5))


def submit(api: httpx.Client, seconds: float = 2.0, **options: str) -> httpx.Response:
    return api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(seconds))}, data=options)


def test_job_goes_from_submit_to_result(api: httpx.Client, worker: Worker, redis_server: Redis) -> None:
    accepted = submit(api, word_timestamps="true")
    assert accepted.status_code == 202
    job = accepted.json()
    assert job["status"] == "queued"
    assert job["queue"]["position"] == 1
    eventually(lambda: redis_server.llen("murmur.demo") == 1)
    worker.work(finish=False)
    running = api.get(job["urls"]["self"]).json()
    assert running["status"] == "processing"
    assert running["progress"] == {
        "fraction": 1.0,
        "audio_seconds_done": 2.0,
        "audio_seconds_total": 2.0,
        "estimated": False,
    }
    assert running["language"] == "en"
    assert api.get(job["urls"]["result"]).json()["job_status"] == "processing"
    assert api.get(job["urls"]["result"], params={"partial": True, "format": "text"}).text == "hello world\n"


def test_finished_job_gives_its_words_and_answers_the_next_one_at_once(api: httpx.Client, worker: Worker) -> None:
    job = submit(api).json()
    worker.work()
    done = api.get(job["urls"]["self"]).json()
    assert done["status"] == "completed"
    assert done["completed_at"] >= done["started_at"] >= done["created_at"]
    assert done["expires_at"] > done["completed_at"]
    verbose = api.get(job["urls"]["result"], params={"format": "verbose_json"}).json()
    assert verbose["text"] == "hello world"
    assert [word["word"] for word in verbose["words"]] == [" hello", " world"]
    again = submit(api)
    assert (again.status_code, again.json()["cached"], again.json()["status"]) == (200, True, "completed")
    # the figures may be a second old
    eventually(lambda: api.get("/stats").json()["cache"]["hits"] == 1)


def test_identical_submits_at_the_same_time_are_one_computation(api: httpx.Client, redis_server: Redis) -> None:
    audio = audio_files.wav(2.0)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/jobs", files={"file": ("a.wav", audio)}), range(48)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 48
    assert len(redis_server.keys("murmur:dedup:*")) == 1
    eventually(lambda: redis_server.llen("murmur.demo") == 1)


def test_long_poll_ends_when_the_worker_does(api: httpx.Client, worker: Worker, redis_server: Redis) -> None:
    job = submit(api).json()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.get, job["urls"]["self"], params={"wait": 20})
        eventually(lambda: redis_server.pubsub_numsub("murmur:changed")[0][1])
        assert not waiting.done()
        worker.work()
        assert waiting.result(15).json()["status"] == "completed"


def test_idempotency_key_holds_across_requests(api: httpx.Client) -> None:
    key = {"idempotency-key": "k1"}
    first = api.post("/v1/jobs", files={"file": audio_files.wav()}, headers=key)
    again = api.post("/v1/jobs", files={"file": audio_files.wav()}, headers=key)
    other = api.post("/v1/jobs", files={"file": audio_files.wav(2)}, headers=key)
    assert again.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_list_cancel_and_forget(api: httpx.Client) -> None:
    ids = [submit(api, 0.1 * n).json()["id"] for n in range(1, 6)]
    page = api.get("/v1/jobs", params={"limit": 3}).json()
    rest = api.get("/v1/jobs", params={"limit": 3, "cursor": page["cursor"]}).json()
    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == ids[::-1]
    assert api.post(f"/v1/jobs/{ids[0]}/cancel").json()["status"] == "canceled"
    assert api.post(f"/v1/jobs/{ids[0]}/cancel").status_code == 409
    assert api.get(f"/v1/jobs/{ids[0]}/result").json()["code"] == "job_canceled"
    assert api.delete(f"/v1/jobs/{ids[1]}").status_code == 204
    assert api.get(f"/v1/jobs/{ids[1]}").status_code == 404
    bad = api.get("/v1/jobs", params={"cursor": "!!"})
    assert (bad.status_code, bad.json()["code"]) == (400, "malformed_request")


def test_health_follows_the_workers(api: httpx.Client, settings: Settings) -> None:
    assert api.get("/health/ready").status_code == 503
    with connect(settings.ledger) as client:
        Worker(RedisSpans(client, settings))
        eventually(lambda: api.get("/health/ready").status_code == 200)
    assert api.get("/health/ready").json() == {
        "status": "ready",
        "ledger": True,
        "ledger_full": False,
        "workers": 1,
    }
    assert api.get("/health").json()["status"] == "ok"
    assert api.get("/v1/models").json()["data"][0]["id"] == "demo"
    assert "murmur_workers 1.0" in api.get("/metrics/ledger").text


def test_ledger_that_hangs_is_answered_with_503_within_seconds_and_everything_recovers(tmp_path: Path) -> None:
    with (
        running_ledger(tmp_path / "ledger") as server,
        live_api(api_settings(server.url, tmp_path / "data")) as api,
    ):
        job = submit(api).json()
        blobs = sorted((tmp_path / "data").rglob("*"))
        with Redis.from_url(server.url) as redis:
            pid = int(redis.info("server")["process_id"])
        time.sleep(1.1)  # fine: what was seen of the queue within the last second still counts
        os.kill(pid, signal.SIGSTOP)
        try:
            for method, path in (("POST", "/v1/jobs"), ("GET", job["urls"]["self"])):
                # Within the client's own thirty seconds: a busy machine is slow too.
                answer = api.request(method, path, files={"file": audio_files.wav(3.0)} if method == "POST" else None)
                assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            assert api.get("/health/live").status_code == 200
            assert api.get("/health/ready").status_code == 503
        finally:
            os.kill(pid, signal.SIGCONT)
        assert sorted((tmp_path / "data").rglob("*")) == blobs
        eventually(lambda: api.get(job["urls"]["self"]).status_code == 200)
        eventually(lambda: submit(api, 3.0).status_code == 202)


@pytest.mark.parametrize("synced", [False, True], ids=["at once", "synced"])
@pytest.mark.parametrize("said", ["WRONGTYPE", "overflow"])
def test_script_that_fails_by_its_own_fault_is_a_500_and_stands_in_the_log(
    settings: Settings, redis_server: Redis, said: str, synced: bool
) -> None:
    if said == "WRONGTYPE":
        redis_server.set("murmur:jobs:default", "a string")
    else:
        redis_server.hset("murmur:stats", "submitted", 2**63 - 1)
    ledger = settings.ledger.model_copy(update={"wait_aof": synced})
    with capture_logs() as logged, live_api(settings.model_copy(update={"ledger": ledger})) as api:
        answer = submit(api, prompt="a secret")
        assert (answer.status_code, answer.json()["code"]) == (500, "ledger_fault")
        assert "submit" in answer.json()["detail"]
        (line,) = [line for line in logged if line["event"] == "the ledger failed"]
        assert (line["script"], line["log_level"]) == ("submit", "error")
        assert said in line["error"]
        assert "secret" not in line["error"]
        redis_server.delete("murmur:jobs:default", "murmur:stats")
        if not synced:
            assert submit(api).status_code == 202


def test_server_that_cannot_write_now_is_no_fault_of_a_script(api: httpx.Client, redis_server: Redis) -> None:
    redis_server.config_set("maxmemory", "1mb")
    try:
        answer = submit(api)
    finally:
        redis_server.config_set("maxmemory", "0")
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_full")
