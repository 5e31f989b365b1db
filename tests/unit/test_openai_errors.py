"""Every refusal as OpenAI's clients expect it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import MutableHeaders

from api.dialects.openai.routes import error_body
from api.problems import STATUSES
from tests import audio_files
from tests.api_client import Bench, bench
from transcription.errors import MurmurationError


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


@pytest.mark.anyio
async def test_a_recording_that_is_too_long_is_a_bad_request_there_alone(api: Bench) -> None:
    files = {"file": ("long.wav", audio_files.wav(4.0))}
    theirs = await api.http.post("/v1/audio/transcriptions", files=files)
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (400, "too_long")
    assert (await api.http.post("/v1/jobs", files=files)).status_code == 422
