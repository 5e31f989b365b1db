"""Production Scale's clients: submit, poll, retrieve; and its Python client."""

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import murmur.compat
from demo import SAMPLES
from murmur.compat import TranscriptionFailed, WhisperClient
from tests.platform import TestPlatform, eventually
from tests.seed_requests import curl, recordings

MP3 = SAMPLES["mp3"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return recordings(tmp_path)


def test_curl_submits_polls_and_retrieves(platform: TestPlatform, here: Path) -> None:
    submitted = curl(
        'curl -X POST "http://HOST/transcribe" -F "file=@audio.mp3" -F "vad_filter=true" -F "language=en"',
        url=platform.url,
        where=here,
    )
    assert submitted.status == 202
    assert set(submitted.json) == {"job_id", "status", "message"}
    assert submitted.json["status"] == "queued"
    assert submitted.json["message"] == "Transcription job submitted successfully"
    job_id = submitted.json["job_id"]

    def completed() -> bool:
        status = curl(f"curl http://HOST/status/{job_id}", url=platform.url, where=here)
        assert status.status == 200
        assert status.json["job_id"] == job_id
        assert status.json["status"] in {"queued", "processing", "completed"}
        return bool(status.json["status"] == "completed")

    eventually(completed, within_s=60, every_s=0.2)
    result = curl(f"curl http://HOST/result/{job_id}", url=platform.url, where=here)
    assert result.status == 200
    assert result.json["text"].split() == MP3.transcript.split()
    assert (result.json["language"], result.json["status"]) == ("en", "completed")
    assert result.json["duration"] == pytest.approx(MP3.duration_s, abs=0.2)


def test_curl_sees_health_statistics_and_metrics(platform: TestPlatform, here: Path) -> None:
    assert curl("curl http://HOST/health", url=platform.url, where=here).json["status"] == "ok"
    assert set(curl("curl http://HOST/stats", url=platform.url, where=here).json) >= {"jobs", "queue", "workers"}
    metrics = curl("curl http://HOST/metrics", url=platform.url, where=here)
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "# TYPE murmur_" in metrics.body


def test_the_document_s_python_client_works(
    platform: TestPlatform, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "example_client", murmur.compat)
    monkeypatch.chdir(here)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        from example_client import WhisperClient  # type: ignore[import-not-found]

        client = WhisperClient(platform.url)
        result = client.transcribe_file("audio.mp3", vad_filter=True, language="en")
        print(f"Text: {result['text']}")
        print(f"Language: {result['language']}")
        print(f"Duration: {result['duration']}s")
        client.close()
    text, language, duration = printed.getvalue().splitlines()
    assert text.removeprefix("Text: ").split() == MP3.transcript.split()
    assert language == "Language: en"
    assert float(duration.removeprefix("Duration: ").removesuffix("s")) == pytest.approx(MP3.duration_s, abs=0.2)


def test_the_client_s_steps_can_be_taken_one_by_one(platform: TestPlatform, here: Path) -> None:
    with WhisperClient(platform.url) as client:
        job_id = client.submit(here / "audio.wav", language="en")
        assert client.wait(job_id)["text"] == client.get_result(job_id)["text"]
        assert client.get_status(job_id)["status"] == "completed"
        assert client.health()["status"] == "ok"
        assert client.stats()["workers"]


def test_the_client_says_why_there_is_no_transcript(platform: TestPlatform, here: Path) -> None:
    (here / "noise.mp3").write_bytes(b"no audio" * 200)
    with WhisperClient(platform.url) as client:
        with pytest.raises(TranscriptionFailed, match="no audio or video"):
            client.transcribe_file(here / "noise.mp3")
        with pytest.raises(TranscriptionFailed, match="no job"):
            client.get_result("never-there")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"language": "xx"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"temperature": "7"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"response_format": "yaml"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"model": "no-such-model"}}, 422, "model_not_served"),
        ({"files": {"recording": ("a.mp3", b"x")}}, 400, "missing_file"),
        ({"data": {"language": "en"}}, 400, "missing_file"),
        ({"json": {"file": "a.mp3"}}, 400, "missing_file"),
        ({"json": {"audio": "%%%"}}, 400, "bad_base64"),
        ({"files": {"file": ("a.mp3", b"")}}, 400, "empty_file"),
        ({"files": {"file": ("a.mp3", b"no audio" * 200)}}, 415, "unsupported_media"),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(
    platform: TestPlatform, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = httpx.post(f"{platform.url}/transcribe", **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/status/never-there", "/result/never-there"])
def test_an_unknown_job_is_not_found(platform: TestPlatform, path: str) -> None:
    answer = httpx.get(platform.url + path)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
