"""The log's line of each request: which requests have one, and what it says."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests import audio_files
from tests.api_client import Bench, bench
from transcription.observability import logs
from transcription.settings import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
def stream(untouched_logging: None) -> StringIO:
    """What the API logs."""
    stream = StringIO()
    logs.configure(level="INFO", style="json", service="api", stream=stream)
    return stream


def lines(stream: StringIO) -> list[dict[str, Any]]:
    """The lines of requests, and no longer those of before."""
    found = [json.loads(text) for text in stream.getvalue().splitlines() if '"request"' in text]
    stream.truncate(0)
    stream.seek(0)
    return found


async def test_a_poll_has_a_line_where_it_fails_and_none_where_it_is_answered(api: Bench, stream: StringIO) -> None:
    job = (await api.submit(audio_files.wav())).json()["id"]
    lines(stream)
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}?wait=0"):
        answer = await api.http.get(path)
        unchanged = await api.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (answer.status_code, unchanged.status_code) == (200, 304)
    assert (await api.http.head(f"/v1/jobs/{job}")).status_code == 200
    assert lines(stream) == []
    for path in (f"/v1/jobs/{'a' * 32}", f"/v1/jobs/{'a' * 32}?wait=0"):
        assert (await api.http.get(path)).status_code == 404
        (line,) = lines(stream)
        assert (line["status"], line["level"], line["error"]) == (404, "info", "job_not_found")
        assert (line["route"], line["path"]) == ("/v1/jobs/{job_id}", path.partition("?")[0])
    api.jobs.down = True
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}?wait=0"):
        assert (await api.http.get(path)).status_code == 503
        (line,) = lines(stream)
        assert (line["status"], line["level"], line["error"]) == (503, "warning", "ledger_unavailable")


async def test_what_is_no_look_at_a_job_has_a_line_under_the_same_path(api: Bench, stream: StringIO) -> None:
    job = (await api.submit(audio_files.wav())).json()["id"]
    assert (await api.http.delete(f"/v1/jobs/{job}")).status_code == 204
    assert [(line["method"], line["status"]) for line in lines(stream)] == [("POST", 202), ("DELETE", 204)]


async def test_polls_have_lines_where_an_operator_wants_all_of_them(tmp_path: Path, untouched_logging: None) -> None:
    async with bench(tmp_path, api=Api(poll_log_share=1.0)) as api:
        stream = StringIO()
        logs.configure(level="INFO", style="json", service="api", stream=stream)
        job = (await api.submit(audio_files.wav())).json()["id"]
        await api.http.get(f"/v1/jobs/{job}")
    assert [(line["method"], line["status"]) for line in lines(stream)] == [("POST", 202), ("GET", 200)]


async def test_request_line_is_json_and_holds_no_audio_and_no_prompt(api: Bench, untouched_logging: None) -> None:
    stream = StringIO()
    logs.configure(level="INFO", style="json", service="api", stream=stream)
    job = (await api.submit(audio_files.wav(), prompt="top secret words")).json()
    line = next(json.loads(text) for text in stream.getvalue().splitlines() if '"request"' in text)
    assert line["status"] == 202
    assert line["route"] == "/v1/jobs"
    assert line["job_id"] == job["id"]
    assert line["audio_hash"] == job["audio"]["sha256"]
    assert line["file_size_bytes"] == len(audio_files.wav())
    assert line["service"] == "api"
    assert line["level"] == "info"
    assert {"request_id", "processing_time_ms", "client_ip", "timestamp"} <= line.keys()
    assert "secret" not in stream.getvalue()


async def test_health_that_is_bad_has_a_line_in_the_log_and_a_good_one_has_none(
    api: Bench, untouched_logging: None
) -> None:
    stream = StringIO()
    logs.configure(level="INFO", style="json", service="api", stream=stream)
    await api.http.get("/health/ready")
    assert '"request"' not in stream.getvalue()
    api.jobs.workers = ()
    api.forget_backlog()
    await api.http.get("/health/ready")
    (line,) = (json.loads(text) for text in stream.getvalue().splitlines() if '"request"' in text)
    assert (line["status"], line["path"], line["level"]) == (503, "/health/ready", "warning")


async def test_a_line_has_no_field_of_the_request_before_it_on_the_same_connection(
    api: Bench, untouched_logging: None
) -> None:
    stream = StringIO()
    logs.configure(level="INFO", style="json", service="api", stream=stream)
    await api.submit(audio_files.wav())
    await api.http.get("/nowhere")  # in the same context, as of requests that came in one packet
    await api.http.delete("/v1/jobs/unknown")
    lines = [json.loads(text) for text in stream.getvalue().splitlines() if '"request"' in text]
    assert [("job_id" in line, line["status"]) for line in lines] == [(True, 202), (False, 404), (False, 404)]
    assert [line.get("error") for line in lines] == [None, "route_not_found", "job_not_found"]
    assert lines[0]["request_id"] != lines[1]["request_id"]
