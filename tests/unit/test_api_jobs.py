"""Jobs over HTTP: the native routes against a ledger in memory."""

import asyncio
import base64
import os
import time
from datetime import datetime

import anyio
import pytest

from tests import audio_files
from tests.api_client import Bench
from tests.platform import eventually_async
from transcription.job import Status
from transcription.options import ResponseFormat

pytestmark = pytest.mark.anyio


async def test_submitted_recording_is_a_durable_job_with_its_place_and_urls(api: Bench) -> None:
    answer = await api.submit(audio_files.wav(3), name="../dir/talk.wav", language="en", word_timestamps="true")
    assert answer.status_code == 202
    job = answer.json()
    assert job["status"] == "queued"
    assert job["audio"]["filename"] == "talk.wav"
    assert job["audio"]["duration_s"] == 3.0
    assert job["audio"]["bytes"] == len(audio_files.wav(3))
    assert job["options"]["language"] == "en"
    assert job["options"]["word_timestamps"] is True
    assert job["queue"] == {"position": 1, "audio_seconds_ahead": 12.3, "eta_s": None, "waits_for": None}
    assert job["error"] is None
    assert job["model"] == "demo"
    assert datetime.fromisoformat(job["created_at"]).utcoffset() is not None
    assert job["created_at"].endswith("Z")
    assert answer.headers["location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    await eventually_async(lambda: api.queue.hints == 1)
    assert api.leftovers() == [f"blobs/{job['audio']['sha256'][:2]}/{job['audio']['sha256']}"]


async def test_finished_job_has_no_place_and_a_second_one_is_answered_from_the_cache(api: Bench) -> None:
    first = (await api.submit(audio_files.wav())).json()
    api.jobs.finish(first["id"])
    assert "queue" not in (await api.http.get(first["urls"]["self"])).json()
    second = await api.submit(audio_files.wav())
    assert second.status_code == 200
    assert second.json()["cached"] is True
    assert "retry-after" not in second.headers
    assert api.queue.hints == 1


@pytest.mark.parametrize("alias", ["whisper-1", "base", "large-v3"])
async def test_published_names_are_aliases_of_the_demo_model(api: Bench, alias: str) -> None:
    assert (await api.submit(audio_files.wav(), model=alias)).json()["model"] == "demo"


async def test_raw_body_takes_its_name_and_options_from_the_request(api: Bench) -> None:
    answer = await api.http.post(
        "/v1/jobs",
        params={"language": "de", "timestamp_granularities[]": ["word", "segment"]},
        content=audio_files.mp3(),
        headers={
            "content-type": "audio/mpeg",
            "content-disposition": "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.mp3",
        },
    )
    assert answer.status_code == 202
    assert answer.json()["audio"]["filename"] == "grüße.mp3"
    assert answer.json()["options"]["timestamp_granularities"] == ["word", "segment"]
    named = await api.http.post(
        "/v1/jobs?filename=a/b.mp3", content=audio_files.mp3(), headers={"content-type": "application/octet-stream"}
    )
    assert named.json()["audio"]["filename"] == "b.mp3"


async def test_json_body_brings_the_audio_in_base64(api: Bench) -> None:
    audio = audio_files.wav(2)
    body = {
        "language": "en",
        "audio": base64.b64encode(audio).decode(),
        "filename": "x.wav",
        "beam_size": 2,
        "prompt": None,
    }
    answer = await api.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["audio"]["bytes"] == len(audio)
    assert answer.json()["options"]["beam_size"] == 2


async def test_prefer_wait_holds_the_answer_until_the_job_is_done(api: Bench) -> None:
    async def finish() -> None:
        await api.jobs.accepted.wait()
        await anyio.wait_all_tasks_blocked()
        api.jobs.finish(next(iter(api.jobs.jobs)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(finish())
        answer = await api.http.post(
            "/v1/jobs", files={"file": audio_files.wav()}, headers={"prefer": "respond-async, wait=20"}
        )
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=20"


async def test_prefer_wait_that_runs_out_answers_202(api: Bench) -> None:
    answer = await api.http.post("/v1/jobs", files={"file": audio_files.wav()}, headers={"prefer": "wait=0"})
    assert answer.status_code == 202


async def test_same_idempotency_key_and_payload_give_the_same_job(api: Bench) -> None:
    key = {"idempotency-key": "once"}
    first = await api.http.post("/v1/jobs", files={"file": audio_files.wav()}, headers=key)
    again = await api.http.post("/v1/jobs", files={"file": audio_files.wav()}, headers=key)
    assert again.json()["id"] == first.json()["id"]
    assert again.status_code == first.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.http.post("/v1/jobs", files={"file": audio_files.wav(2)}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


async def test_unusable_idempotency_key_is_refused_before_the_upload(api: Bench) -> None:
    answer = await api.http.post("/v1/jobs", files={"file": audio_files.wav()}, headers={"idempotency-key": "x" * 256})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert api.leftovers() == []


async def test_unchanged_job_is_answered_with_304(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    first = await api.http.get(job["urls"]["self"])
    held = {"if-none-match": first.headers["etag"]}
    assert (await api.http.get(job["urls"]["self"], headers=held)).status_code == 304
    api.jobs.finish(job["id"])
    changed = await api.http.get(job["urls"]["self"], headers=held)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_long_poll_returns_when_the_job_ends(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(api.http.get(job["urls"]["self"], params={"wait": 30}))
        await anyio.wait_all_tasks_blocked()
        assert not waiting.done()
        api.jobs.finish(job["id"])
    assert waiting.result().json()["status"] == "completed"


@pytest.mark.parametrize("job_id", ["nope", "3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1", "a" * 300, "a%20b", "a:b", "*"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", "")])
async def test_unknown_id_is_404(api: Bench, job_id: str, method: str, path: str) -> None:
    answer = await api.http.request(method, f"/v1/jobs/{job_id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_canceling_works_once(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    answer = await api.http.post(job["urls"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    again = await api.http.post(job["urls"]["cancel"])
    assert (again.status_code, again.json()["code"]) == (409, "job_finished")


async def test_forgotten_job_is_unknown(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    answer = await api.http.delete(job["urls"]["self"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await api.http.get(job["urls"]["self"])).status_code == 404


async def test_list_pages_through_jobs_newest_first(api: Bench) -> None:
    ids = [(await api.submit(audio_files.wav(0.1 * n))).json()["id"] for n in range(1, 6)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await api.http.get("/v1/jobs", params=params)).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    api.jobs.finish(ids[0])
    done = (await api.http.get("/v1/jobs", params={"status": "completed"})).json()["jobs"]
    assert [job["id"] for job in done] == [ids[0]]
    assert "queue" not in done[0]


@pytest.mark.parametrize("params", [{"limit": 201}, {"limit": 0}, {"limit": "x"}, {"status": "done"}])
async def test_list_refuses_parameters_out_of_range(api: Bench, params: dict[str, str]) -> None:
    answer = await api.http.get("/v1/jobs", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert next(iter(params)) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content_type", "begins"),
    [
        ("json", "application/json", b'{"text":"Hello there, you <all>."'),
        ("verbose_json", "application/json", b'{"task":"transcribe","language":"english"'),
        ("text", "text/plain; charset=utf-8", b"Hello there,\nyou <all>.\n"),
        ("srt", "application/x-subrip; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,500\nHello there,\n"),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n"),
        ("tsv", "text/tab-separated-values; charset=utf-8", b"start\tend\ttext\n0\t1500\tHello there,\n"),
    ],
)
async def test_result_comes_in_every_format(api: Bench, name: str, content_type: str, begins: bytes) -> None:
    job = (await api.submit(audio_files.wav(), name='gr"ü\r\nße.mp3', response_format=name)).json()
    api.jobs.finish(job["id"])
    answer = await api.http.get(job["urls"]["result"], params={"format": name})
    assert answer.status_code == 200
    assert answer.content.startswith(begins)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["murmur-complete"] == "true"
    assert answer.headers["content-disposition"].startswith('inline; filename="gr_')
    assert (await api.http.get(job["urls"]["result"])).content == answer.content
    held = {"if-none-match": answer.headers["etag"]}
    assert (await api.http.get(job["urls"]["result"], headers=held)).status_code == 304


async def test_result_that_is_not_there_yet_is_409_with_the_status(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    answer = await api.http.get(job["urls"]["result"])
    assert answer.status_code == 409
    assert answer.json()["code"] == "result_not_ready"
    assert answer.json()["job_status"] == "queued"
    assert int(answer.headers["retry-after"]) >= 1


async def test_partial_result_gives_what_there_is(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    answer = await api.http.get(job["urls"]["result"], params={"partial": "true", "format": "text"})
    assert (answer.status_code, answer.text) == (200, "Hello there,\n")
    assert answer.headers["murmur-complete"] == "false"
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("status", "code", "http"),
    [(Status.FAILED, "job_failed", 409), (Status.CANCELED, "job_canceled", 409), (Status.EXPIRED, "job_expired", 410)],
)
async def test_result_of_a_job_that_has_none_says_why(api: Bench, status: Status, code: str, http: int) -> None:
    job = (await api.submit(audio_files.wav())).json()
    if status is Status.FAILED:
        api.jobs.fail(job["id"])
    else:
        api.jobs.finish(job["id"], status=status)
    answer = await api.http.get(job["urls"]["result"])
    assert (answer.status_code, answer.json()["code"]) == (http, code)
    partial = await api.http.get(job["urls"]["result"], params={"partial": "true"})
    assert partial.status_code == (200 if status is Status.FAILED else http)
    if status is Status.FAILED:
        assert answer.json()["error"] == {
            "code": "worker_lost",
            "message": "every worker that tried it died",
            "retryable": False,
        }
        assert (await api.http.get(job["urls"]["self"])).json()["error"]["code"] == "worker_lost"


async def test_unknown_format_is_refused(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    answer = await api.http.get(job["urls"]["result"], params={"format": "docx"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")


def test_every_format_is_covered_above() -> None:
    assert {"json", "verbose_json", "text", "srt", "vtt", "tsv"} == {name.value for name in ResponseFormat}


async def test_recording_of_a_deleted_job_is_gone_though_the_store_s_clock_is_ahead(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    (recording,) = api.leftovers()
    ahead = time.time() + 600
    os.utime(api.root / recording, (ahead, ahead))
    assert (await api.http.delete(job["urls"]["self"])).status_code == 204
    assert api.leftovers() == []
