"""Streams of OpenAI's dialects, and chats, with the ledger in memory: how they go on, what they lack, how they end."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest

from api.dialects.openai import chat, speakers, stream
from tests import audio_files
from tests.api_client import Bench
from tests.memory_jobs import SEGMENTS
from transcription.errors import LedgerUnavailable
from transcription.job import Job, Progress, Status
from transcription.result_warning import ResultWarning, WarningCode

pytestmark = pytest.mark.anyio

WAV = audio_files.wav(0.2)
TEXT = "Hello there, you <all>."
HOLE = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=3.0, seconds=2.0)
PATH = "/v1/chat/completions"


def chat_of(**more: Any) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"format": "wav", "data": base64.b64encode(WAV).decode()}}
    return {"model": "whisper-1", "messages": [{"role": "user", "content": [part]}], **more}


async def asked(api: Bench, path: str, **request: Any) -> tuple[asyncio.Task[httpx.Response], Job]:
    """The pending answer, and the job that came of it."""
    answer = asyncio.create_task(api.http.post(path, **request))
    accepted = asyncio.create_task(api.jobs.accepted.wait())
    await asyncio.wait({answer, accepted}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    accepted.cancel()
    assert not answer.done(), answer.result().text
    (job,) = api.jobs.jobs.values()
    return answer, job


def events_of(text: str) -> list[Any]:
    """What each event holds; the end as it stands."""
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else orjson.loads(line) for line in found]


async def test_a_chat_s_stream_has_the_text_a_reason_and_an_end(api: Bench) -> None:
    answer, job = await asked(api, PATH, json=chat_of(stream=True, temperature=1.5))
    api.jobs.jobs[job.id] = replace(job, progress=Progress(audio_seconds_done=0.1, audio_seconds_total=0.2))
    api.jobs.finish(job.id)
    assert (await answer).headers["content-type"].startswith("text/event-stream")
    *chunks, end = events_of((await answer).text)
    assert end == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == TEXT
    assert [choice["finish_reason"] for choice in choices][-1] == "stop"
    assert job.options.ttl_s == api.settings.api.sync_ttl_s
    assert job.options.temperature == 0.0  # a chat's steers how it is worded, and means nothing here


async def test_a_chat_s_stream_says_what_was_used_where_that_is_asked_for(
    api: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.memory_jobs.SEGMENTS", [replace(each, tokens=(1, 2, 3)) for each in SEGMENTS])
    answer, job = await asked(api, PATH, json=chat_of(stream=True, stream_options={"include_usage": True}))
    api.jobs.finish(job.id)
    *_, stop, used, _end = events_of((await answer).text)
    assert stop["choices"][0]["finish_reason"] == "stop"
    assert used["choices"] == []
    assert used["usage"] == {"prompt_tokens": 0, "completion_tokens": 6, "total_tokens": 6}


async def test_a_chat_takes_the_job_s_options_from_its_body_and_its_query(api: Bench) -> None:
    answer, job = await asked(api, f"{PATH}?ttl_s=600", json=chat_of(language="de", hotwords="Murmur", top_p=1))
    api.jobs.finish(job.id)
    assert (await answer).json()["choices"][0]["message"]["content"] == TEXT
    options = job.options
    assert (options.model, options.language) == ("whisper-1", "de")
    assert (options.hotwords, options.ttl_s) == ("Murmur", 600)


async def test_a_chat_s_stream_that_fails_says_so_and_has_no_end_as_if_it_were_whole(api: Bench) -> None:
    answer, job = await asked(api, PATH, json=chat_of(stream=True))
    api.jobs.fail(job.id)
    *_, last = events_of((await answer).text)
    assert last["error"]["code"] == "worker_lost"


STREAMS = [
    pytest.param(stream.events, id="OpenAI"),
    pytest.param(lambda platform, job: chat.chunks(platform, job, model="m", with_usage=False), id="chat"),
    pytest.param(speakers.events, id="speakers"),
]


@pytest.mark.parametrize("events", STREAMS)
async def test_a_silent_stream_has_heartbeats(
    api: Bench, monkeypatch: pytest.MonkeyPatch, events: Callable[..., Any]
) -> None:
    for module in (stream, speakers):
        monkeypatch.setattr(module, "HEARTBEAT_S", 0.0)
    job = api.jobs.jobs[(await api.submit(WAV)).json()["id"]]
    told = events(api.app.state.platform, job)
    lines = [await asyncio.wait_for(anext(told), 10) for _ in range(4)]
    assert lines.count(b": working\n\n") >= 3
    await told.aclose()


@pytest.mark.parametrize("events", STREAMS)
async def test_an_outage_at_a_job_s_end_takes_nothing_of_its_stream(
    api: Bench, monkeypatch: pytest.MonkeyPatch, events: Callable[..., Any]
) -> None:
    for module in ("stream", "speakers"):
        monkeypatch.setattr(f"api.dialects.openai.{module}.OUTAGE_POLL_S", 0.01, raising=False)
    monkeypatch.setattr("api.dialects.waiting.OUTAGE_POLL_S", 0.01)
    job = api.jobs.jobs[(await api.submit(WAV, diarize="true")).json()["id"]]
    api.jobs.jobs[job.id] = replace(job, progress=Progress(audio_seconds_done=0.1, audio_seconds_total=0.2))
    api.jobs.finish(job.id)
    for name in ("written", "transcript"):
        monkeypatch.setattr(api.jobs, name, away_at_first(getattr(api.jobs, name)))
    told = b"".join([line async for line in events(api.app.state.platform, job)])
    assert b"Hello there," in told
    assert b" you <all>." in told
    assert b'"error"' not in told


def away_at_first(read: Callable[..., Any]) -> Callable[..., Any]:
    """*read*, for whose first three calls the ledger is away."""
    calls = 0

    async def away(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise LedgerUnavailable("away", retry_after_s=1)
        return await read(*args)

    return away


@pytest.mark.parametrize("events", [STREAMS[0], STREAMS[2]])
async def test_a_stream_s_end_says_what_the_transcript_lacks(api: Bench, events: Callable[..., Any]) -> None:
    job = api.jobs.jobs[(await api.submit(WAV, language="de")).json()["id"]]
    api.jobs.finish(job.id, warnings=(HOLE,))
    *_, done = events_of(b"".join([line async for line in events(api.app.state.platform, job)]).decode())
    assert (done["type"], done["text"]) == ("transcript.text.done", TEXT)
    assert [warning["code"] for warning in done["warnings"]] == ["damaged"]
    assert done["languages"] == [{"code": "de"}]


@pytest.mark.parametrize("events", STREAMS)
async def test_a_stream_of_a_job_that_is_canceled_ends_with_that_and_not_with_half_a_text(
    api: Bench, events: Callable[..., Any]
) -> None:
    job = api.jobs.jobs[(await api.submit(WAV)).json()["id"]]
    api.jobs.jobs[job.id] = replace(job, progress=Progress(audio_seconds_done=0.1, audio_seconds_total=0.2))
    api.jobs.finish(job.id, status=Status.CANCELED)
    *_, last = events_of(b"".join([line async for line in events(api.app.state.platform, job)]).decode())
    assert last["error"]["code"] == "job_canceled"


@pytest.mark.parametrize("events", STREAMS)
async def test_a_stream_that_may_go_on_no_longer_ends_with_that_and_not_with_half_a_text(
    api: Bench, events: Callable[..., Any]
) -> None:
    job = api.jobs.jobs[(await api.submit(WAV)).json()["id"]]
    job = api.jobs.jobs[job.id] = replace(job, progress=Progress(audio_seconds_done=0.1, audio_seconds_total=0.2))
    impatient = api.settings.model_copy(update={"api": api.settings.api.model_copy(update={"max_sync_s": 0.05})})
    platform = replace(api.app.state.platform, settings=impatient)
    *_, last = events_of(b"".join([line async for line in events(platform, job)]).decode())
    assert last["error"]["code"] == "result_not_ready"


async def test_a_fault_of_ours_in_a_stream_is_called_one(api: Bench) -> None:
    job = api.jobs.jobs[(await api.submit(WAV)).json()["id"]]
    api.jobs.fail(job.id)
    *_, last = events_of(b"".join([line async for line in stream.events(api.app.state.platform, job)]).decode())
    assert (last["error"]["code"], last["error"]["type"]) == ("worker_lost", "server_error")
