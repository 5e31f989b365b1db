"""The dialects with the ledger in memory: what a job's end, a client's leaving and an odd body come to."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from api.dialects.containers import format_of
from api.dialects.microservice_shapes import estimated_s, job_out
from api.dialects.openai.chat import ChatForm
from api.dialects.openai.stream import events
from api.problems import MEDIA_TYPE
from api.uploads.json_form import JsonForm
from tests import audio_files
from tests.api_client import Bench, bench
from tests.memory_jobs import WORKER
from transcription.errors import BadBase64, LedgerUnavailable, MurmurationError
from transcription.job import Failure, Job, Progress, Status
from transcription.result_warning import ResultWarning, WarningCode
from transcription.transcript import Transcript

pytestmark = pytest.mark.anyio

WAV = audio_files.wav(0.2)
SYNC = [
    ("/v1/audio/transcriptions", "file"),
    ("/v1/audio/translations", "file"),
    ("/v1/transcribe", "file"),
    ("/transcribe", "audio_file"),
    ("/api/v1/transcribe", "file"),
]


async def ask(api: Bench, path: str, field: str, **more: Any) -> tuple[asyncio.Task[httpx.Response], Job]:
    """Send a recording to a synchronous route; the pending answer, and the job that came of it."""
    answer = asyncio.create_task(api.http.post(path, files={field: ("talk.wav", WAV)}, **more))
    await asyncio.wait_for(api.jobs.accepted.wait(), 10)
    (job,) = api.jobs.jobs.values()
    return answer, job


@pytest.mark.parametrize(("path", "field"), SYNC)
async def test_a_synchronous_route_is_a_job_that_the_client_waits_for(api: Bench, path: str, field: str) -> None:
    answer, job = await ask(api, path, field)
    assert job.options.ttl_s == api.settings.api.sync_ttl_s
    assert not answer.done()
    api.jobs.finish(job.id)
    assert (await answer).json()["text"] == "Hello there, you <all>."


async def test_a_path_that_answers_at_once_keeps_the_transcript_for_who_comes_for_it(api: Bench) -> None:
    assert (await api.http.post("/transcribe", files={"file": ("talk.wav", WAV)})).status_code == 202
    (job,) = api.jobs.jobs.values()
    assert job.options.ttl_s is None


async def test_of_a_long_prompt_the_end_is_kept_as_whisper_does(api: Bench) -> None:
    answer, job = await ask(api, "/v1/audio/transcriptions", "file", data={"prompt": "x" * 4000 + " the end"})
    assert (len(job.options.prompt or ""), (job.options.prompt or "")[-7:]) == (4000, "the end")
    api.jobs.finish(job.id)
    await answer


async def test_a_second_that_has_begun_counts(api: Bench) -> None:
    answer, job = await ask(api, "/v1/audio/transcriptions", "file")
    api.jobs.finish(job.id)
    transcript = await api.jobs.transcript(api.jobs.jobs[job.id])
    assert transcript.duration % 1
    assert (await answer).json()["usage"] == {"type": "duration", "seconds": int(transcript.duration) + 1}


@pytest.mark.parametrize(("path", "field"), SYNC)
async def test_an_answer_says_in_a_header_what_its_transcript_lacks(api: Bench, path: str, field: str) -> None:
    answer, job = await ask(api, path, field)
    hole = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=3.0, seconds=2.0)
    api.jobs.finish(job.id, warnings=(hole, replace(hole, code=WarningCode.TRUNCATED)))
    assert (await answer).headers["murmur-warnings"] == "damaged, truncated"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(code="worker_lost", message="every worker that tried it died"), 500),
        (Failure(code="model_unavailable", message="no hub", retryable=True), 503),
        (Failure(code="too_long", message="13 h"), 422),
        (Failure(code="never_heard_of", message="?"), 500),
    ],
)
@pytest.mark.parametrize(("path", "field"), SYNC)
async def test_a_job_that_fails_answers_with_its_failure_s_status(
    api: Bench, path: str, field: str, failure: Failure, status: int
) -> None:
    answer, job = await ask(api, path, field)
    api.jobs.finish(job.id, status=Status.FAILED, failure=failure)
    body = (await answer).json()
    refused = 400 if status == 422 and (field == "audio_file" or path.startswith("/v1/audio/")) else status
    assert (await answer).status_code == refused
    assert failure.message in orjson.dumps(body).decode()


@pytest.mark.parametrize(("path", "field"), SYNC)
async def test_an_outage_between_a_job_s_end_and_its_transcript_ends_no_request(
    api: Bench, path: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.dialects.waiting.OUTAGE_POLL_S", 0.01)
    answer, job = await ask(api, path, field)
    asked = 0

    async def away(job: Job) -> Transcript:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise LedgerUnavailable("away", retry_after_s=1)
        return await transcript(job)

    transcript = api.jobs.transcript
    monkeypatch.setattr(api.jobs, "transcript", away)
    api.jobs.finish(job.id)
    assert (await answer).status_code == 200
    assert asked == 5


async def test_a_job_that_takes_too_long_goes_on_and_says_where(tmp_path: Path) -> None:
    async with bench(tmp_path) as api:
        platform = api.app.state.platform
        impatient = api.settings.model_copy(update={"api": api.settings.api.model_copy(update={"max_sync_s": 0.05})})
        api.app.state.platform = replace(platform, settings=impatient)
        answer, job = await ask(api, "/v1/audio/transcriptions", "file")
        said = (await answer).json()["error"]
        assert ((await answer).status_code, said["code"]) == (409, "result_not_ready")
        answer, _ = await ask(api, "/transcribe", "audio_file")
        body = (await answer).json()
        assert ((await answer).status_code, body["success"]) == (409, False)
        assert "goes on" in body["error"]
        assert job.id in said["message"]
        assert api.jobs.jobs[job.id].status is Status.QUEUED


async def test_a_client_that_hangs_up_leaves_its_job(api: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.dialects.waiting.CLIENT_CHECK_S", 0.05)
    body = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + WAV + b"\r\n--X--\r\n"
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/transcribe",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=X")],
        "app": api.app,
    }
    await asyncio.wait_for(api.app(scope, receive, send), 10)
    (job,) = api.jobs.jobs.values()
    assert job.status is Status.QUEUED
    assert sent[0]["status"] == 499


async def test_a_stream_s_events_come_while_the_job_runs(api: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.dialects.openai.stream.HEARTBEAT_S", 0.02)
    job = api.jobs.jobs[(await api.submit(WAV)).json()["id"]]
    stream = events(api.app.state.platform, job)
    assert await anext(stream) == b": working\n\n"
    api.jobs.jobs[job.id] = replace(job, progress=Progress(audio_seconds_done=0.1, audio_seconds_total=0.2))
    first = [line async for line in stream_until(stream, b'"transcript.text.segment"')]
    assert b'"delta":"Hello there,"' in b"".join(first)
    assert not api.jobs.jobs[job.id].status.terminal
    api.jobs.finish(job.id)
    rest = b"".join([line async for line in stream])
    assert rest.count(b"transcript.text.delta") == 1
    assert b'"transcript.text.done","text":"Hello there, you <all>."' in rest


async def stream_until(stream: AsyncIterator[bytes], mark: bytes) -> AsyncIterator[bytes]:
    while True:
        line = await anext(stream)
        yield line
        if mark in line:
            return


async def test_a_stream_that_fails_ends_with_an_error_event(api: Bench) -> None:
    answer, job = await ask(api, "/v1/audio/transcriptions", "file", data={"stream": "true"})
    api.jobs.fail(job.id)
    lines = [line for line in (await answer).text.splitlines() if line]
    assert orjson.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "worker_lost"
    assert (await answer).headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models/demo"])
async def test_an_error_that_nobody_foresaw_has_openai_s_body(api: Bench, path: str) -> None:
    api.jobs.broken = RuntimeError("a secret")
    api.forget_backlog()
    files = {"file": ("talk.wav", WAV)}
    answer = await (api.http.get(path) if "models" in path else api.http.post(path, files=files))
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": answer.json()["error"]["message"],
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    assert "secret" not in answer.text


async def test_a_method_that_a_path_has_not_is_refused_in_its_dialect(api: Bench) -> None:
    answer = await api.http.get("/v1/audio/transcriptions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_a_ledger_that_is_down_is_503_in_every_dialect(api: Bench) -> None:
    api.jobs.down = True
    for path, field in SYNC:
        answer = await api.http.post(path, files={field: ("talk.wav", WAV)})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    assert api.leftovers() == []


async def test_who_is_refused_before_a_field_was_seen_is_answered_in_both_dialects_of_the_path(api: Bench) -> None:
    api.jobs.down = True
    answer = await api.http.post("/transcribe", files={"audio_file": ("talk.wav", WAV)})
    assert (answer.status_code, answer.headers["content-type"]) == (503, MEDIA_TYPE)
    body = answer.json()
    assert body["code"] == "ledger_unavailable"
    assert (body["success"], body["error"], body["text"]) == (False, body["detail"], "")


async def test_a_chat_that_wants_to_be_spoken_to_says_how_and_not_what(api: Bench) -> None:
    form = ChatForm()
    body = chat(base64.b64encode(WAV).decode(), audio={"voice": "alloy", "format": "wav"}, modalities=["text"])
    assert b"".join(form.feed(body)) == WAV
    form.close()
    assert form.url is None


def chat(data: str, **more: Any) -> bytes:
    part = {"input_audio": {"format": "wav", "data": data}, "type": "input_audio"}
    texts = {"role": "system", "content": [{"type": "text", "text": 'say "audio": {"data": "x"}'}]}
    return orjson.dumps({"data": "decoy", "messages": [texts, {"role": "user", "content": [part]}], **more})


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_chat_s_recording_is_found_however_the_body_is_cut(size: int) -> None:
    form = ChatForm()
    body = chat(base64.b64encode(WAV).decode(), model="whisper-1", temperature=1.5)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(part for piece in pieces for part in form.feed(piece)) == WAV
    form.close()
    assert form.fields == {"model": "whisper-1"}
    assert form.filename == "audio.wav"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"messages": 1}',
        b'{"messages": [{"content": [{"input_audio": "x"}]}]}',
        b'{"messages": [{"content": [{"input_audio": {"data": 1}}]}]}',
        b'{"audio": {"voice": "x"}}',
        b'{"messages": [{"content": [{"input_audio": {"data": "AAAA"}}]}], "temperature": "hot"}',
        b"]]]]}}}}",
        b'"' * 99,
    ],
)
async def test_an_odd_chat_is_a_client_s_error(body: bytes) -> None:
    def read() -> None:
        form = ChatForm()
        b"".join(form.feed(body))
        form.close()

    with pytest.raises(MurmurationError):
        read()


async def test_an_input_audio_s_data_elsewhere_is_no_recording() -> None:
    form = JsonForm()
    assert b"".join(form.feed(chat("AAAA"))) == b""
    with pytest.raises(BadBase64):
        list(ChatForm().feed(chat("A-A-")))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00", "mp4"),
        (b"\x00\x00\x00\x18ftypqt  \x00\x00", "mov"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"\xff", "unknown"),
        (b"", "unknown"),
    ],
)
async def test_a_container_is_named_by_its_first_bytes(head: bytes, name: str) -> None:
    assert format_of(head) == name


async def test_an_estimate_is_what_is_left_at_the_workers_speed(api: Bench) -> None:
    job_id = (await api.submit(WAV)).json()["id"]
    job = api.jobs.jobs[job_id]
    assert estimated_s(job, [WORKER]) == 2  # 12.34 s ahead and its own 0.2 s, ten times as fast as speech
    assert estimated_s(job, []) == 13
    api.jobs.finish(job_id)
    assert estimated_s(api.jobs.jobs[job_id], [WORKER]) == 0


@pytest.mark.parametrize(("status", "word"), [(Status.CANCELED, "canceled"), (Status.EXPIRED, "kept no longer")])
async def test_a_job_that_will_never_be_done_ends_a_polling_client_s_wait(
    api: Bench, status: Status, word: str
) -> None:
    job_id = (await api.submit(WAV)).json()["id"]
    api.jobs.finish(job_id, status=status)
    out = job_out(api.jobs.jobs[job_id])
    assert out.status == "failed"
    assert word in (out.error or "")
