"""Zero retention: what was read in whole is gone, what wasn't stays."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.memory_jobs import MemoryQueue
from tests.platform import eventually, eventually_async
from tests.secured_api import secured, settings_for
from transcription.housekeeping.maintenance import Maintenance
from transcription.job import Job
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Retention, Settings
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import open_results
from transcription.transcript import Segment, Transcript

SAID = " the patient is well"
NAME = "the-patient-s-name"

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return api_settings(redis_url, tmp_path).model_copy(update={"retention": Retention(delete_after_read=True)})


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    with live_api(settings) as client:
        yield client


@pytest.fixture
def worker(settings: Settings) -> Iterator[LedgerWorker]:
    client = connect(settings.ledger)
    yield LedgerWorker(RedisSpans(client, settings))
    client.close()


def hand_in(api: httpx.Client, hertz: float = 440) -> str:
    files = {"file": (f"{NAME}.wav", audio_files.wav(0.2, hertz=hertz))}
    answer = api.post("/v1/jobs", files=files, data={"prompt": f"about {NAME}"})
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


def everything(redis: Redis) -> str:
    """All that the server holds, as text."""
    readers: dict[str, Callable[[str], object]] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "list": lambda key: redis.lrange(key, 0, -1),
        "set": redis.smembers,
        "zset": lambda key: redis.zrange(key, 0, -1),
        "stream": redis.xrange,
    }
    readers["none"] = lambda _: ""  # it has just gone
    return "\n".join(f"{key} {readers[redis.type(key)](key)}" for key in redis.keys("*"))


def gone(api: httpx.Client, job: str) -> bool:
    return api.get(f"/v1/jobs/{job}").status_code == 404


def test_a_result_that_was_read_once_is_nowhere_any_more(
    api: httpx.Client, worker: LedgerWorker, redis_server: Redis, tmp_path: Path
) -> None:
    job = hand_in(api)
    worker.work(SAID)
    assert SAID.strip() in everything(redis_server)
    assert SAID.strip() in api.get(f"/v1/jobs/{job}/result", params={"format": "text"}).text
    eventually(lambda: gone(api, job))
    assert api.get(f"/v1/jobs/{job}/result").status_code == 404
    held = everything(redis_server)
    assert SAID.strip() not in held
    assert NAME not in held
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_what_gave_no_whole_result_deletes_nothing(api: httpx.Client, worker: LedgerWorker) -> None:
    job = hand_in(api)
    claim = worker.claim()
    worker.prepare(claim, (10.0,))
    worker.write(claim, 0, SAID, audio_s=5.0)
    part = api.get(f"/v1/jobs/{job}/result", params={"partial": "true"})
    assert (part.status_code, part.headers["murmur-complete"]) == (200, "false")
    worker.finish(claim)
    assert api.get(f"/v1/jobs/{job}").json()["status"] == "completed"
    assert api.get("/v1/jobs").json()["jobs"]
    head = api.head(f"/v1/jobs/{job}/result")
    assert head.status_code == 200
    assert api.get(f"/v1/jobs/{job}/result", headers={"If-None-Match": head.headers["etag"]}).status_code == 304
    assert api.get(f"/v1/jobs/{job}/result", params={"format": "none"}).status_code == 422
    # Whatever was to be deleted for these would have been asked for before this one is.
    other = hand_in(api, 880)
    worker.work(SAID)
    assert api.get(f"/v1/jobs/{other}/result").status_code == 200
    eventually(lambda: gone(api, other))
    assert not gone(api, job)
    assert api.get(f"/v1/jobs/{job}/result").status_code == 200
    eventually(lambda: gone(api, job))


def test_a_job_that_shares_the_computation_keeps_its_own_result_until_it_is_read(
    api: httpx.Client, worker: LedgerWorker
) -> None:
    first, second = hand_in(api), hand_in(api)
    worker.work(SAID)
    assert api.get(f"/v1/jobs/{first}/result").status_code == 200
    eventually(lambda: gone(api, first))
    assert SAID.strip() in api.get(f"/v1/jobs/{second}/result", params={"format": "text"}).text
    eventually(lambda: gone(api, second))


def test_events_that_were_heard_to_the_end_are_a_reading(api: httpx.Client, worker: LedgerWorker) -> None:
    job = hand_in(api)
    worker.work(SAID)
    assert "event: done" in api.get(f"/v1/jobs/{job}/events").text
    eventually(lambda: gone(api, job))


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_waits_for_the_text_in_the_answer_has_read_it(
    api: httpx.Client, worker: LedgerWorker, redis_server: Redis, stream: bool
) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        files = {"file": (f"{NAME}.wav", audio_files.wav(0.2))}
        data = {"model": "whisper-1", **({"stream": "true"} if stream else {})}
        answers.append(api.post("/v1/audio/transcriptions", files=files, data=data))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(worker.spans.pending)
    worker.work(SAID)
    asking.join(30)
    assert answers[0].status_code == 200
    assert SAID.strip() in answers[0].text
    eventually(lambda: SAID.strip() not in everything(redis_server))
    assert NAME not in everything(redis_server)
    assert api.get("/v1/jobs").json()["jobs"] == []


READINGS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    **{
        kind: lambda api, job, kind=kind: api.get(f"/v1/jobs/{job}/result", params={"format": kind})  # type: ignore[misc]
        for kind in ("json", "verbose_json", "text", "srt", "vtt", "tsv")
    },
    "partial": lambda api, job: api.get(f"/v1/jobs/{job}/result", params={"partial": "true"}),
    "events": lambda api, job: api.get(f"/v1/jobs/{job}/events"),
    "production-scale": lambda api, job: api.get(f"/result/{job}"),
}


@pytest.mark.parametrize("archived", [False, True], ids=["in the ledger", "in the store"])
def test_by_whichever_way_a_result_was_read_nothing_of_it_is_left(
    api: httpx.Client, settings: Settings, worker: LedgerWorker, redis_server: Redis, archived: bool
) -> None:
    store = open_results(settings)
    assert store is not None
    keeper = Maintenance(worker.spans, MemoryQueue(), DiskBlobs(settings.blob_dir), settings, results=store)
    for way, read in READINGS.items():
        job = hand_in(api)
        worker.work(SAID)
        if archived:
            redis_server.zadd("murmur:finished", dict.fromkeys(redis_server.zrange("murmur:finished", 0, -1), 0))
            keeper.archive(store)
            assert SAID.strip() not in everything(redis_server), way
        answer = read(api, job)
        assert (answer.status_code, SAID.strip() in answer.text) == (200, True), (way, answer.text)
        eventually(lambda job=job: gone(api, job))  # type: ignore[misc]
        held = everything(redis_server)
        assert (SAID.strip() in held, NAME in held) == (False, False), way
        eventually(lambda: not [path for path in settings.blob_dir.rglob("*") if path.is_file()])


async def test_naming_speakers_is_no_reading(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spoken(job: Job) -> Transcript:
        segments = (Segment(0.0, 1.0, " hello", speaker="A"),)
        return Transcript(
            segments=segments, language="en", language_probability=None, duration=1.0, task="transcribe", model="demo"
        )

    retained = {"retention": Retention(delete_after_read=True)}
    async with secured(settings_for(redis_url, tmp_path, require_keys=False).model_copy(update=retained)) as bench:
        job = (await bench.submit(audio_files.wav(0.2), diarize="true")).json()["id"]
        bench.jobs.finish(job)
        monkeypatch.setattr(bench.jobs, "transcript", spoken)
        named = await bench.http.patch(f"/v1/jobs/{job}/speakers", json={"A": "Anna"})
        assert named.status_code == 200, named.text
        assert (await bench.http.get(f"/v1/jobs/{job}")).status_code == 200
        # What this deletes would have been deleted after the other's answer.
        assert (await bench.http.get(f"/v1/jobs/{job}/result")).status_code == 200
        await eventually_async(lambda: job not in bench.jobs.jobs)
