"""Every refusal as OpenAI's clients expect it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.datastructures import MutableHeaders

from api.dialects.openai.routes import error_body
from api.problems import STATUSES
from tests import audio_files
from tests.api_client import Bench, bench
from transcription.errors import MurmurationError
from transcription.job import Status


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, max_duration_s=1.0) as made:
        yield made


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.code)
def test_whatever_is_wrong_with_a_file_or_a_field_is_a_bad_request(kind: type[MurmurationError]) -> None:
    problem: dict[str, Any] = {"code": kind.code, "status": STATUSES[kind], "detail": "what happened"}
    status, body = error_body({}, problem, MutableHeaders())
    # `except BadRequestError` catches 400 alone.
    assert status not in {415, 422}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    types = {429: "rate_limit_error"} | dict.fromkeys((500, 502, 503, 504, 507), "server_error")
    assert body["error"]["type"] == types.get(status, "invalid_request_error")


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.code)
def test_a_client_sends_nothing_again_that_would_end_in_the_same(kind: type[MurmurationError]) -> None:
    headers = MutableHeaders()
    error_body({}, {"code": kind.code, "status": STATUSES[kind], "detail": "what happened"}, headers)
    assert headers.get("x-should-retry") == (None if kind.retryable else "false")


@pytest.mark.anyio
async def test_openai_s_client_brings_no_canceled_job_back(api: Bench) -> None:
    client = openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="none", http_client=api.http)
    answer = asyncio.create_task(
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", audio_files.wav(0.2)))
    )
    await asyncio.wait_for(api.jobs.accepted.wait(), 10)
    (job_id,) = api.jobs.jobs
    api.jobs.finish(job_id, status=Status.CANCELED)
    with pytest.raises(openai.ConflictError, match="was canceled"):
        await answer
    assert list(api.jobs.jobs) == [job_id]


@pytest.mark.anyio
async def test_a_recording_that_is_too_long_is_a_bad_request_there_alone(api: Bench) -> None:
    files = {"file": ("long.wav", audio_files.wav(4.0))}
    theirs = await api.http.post("/v1/audio/transcriptions", files=files)
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (400, "too_long")
    assert (await api.http.post("/v1/jobs", files=files)).status_code == 422
