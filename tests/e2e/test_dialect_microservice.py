"""The Microservice's clients: its curl commands and Python examples, changed in nothing but the host."""

import contextlib
import io
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import SAMPLES
from murmur.cli.main import main
from tests import audio_files
from tests.live_api import api_settings, live_api
from tests.platform import TestPlatform, eventually
from tests.seed_requests import Answer, curl, recordings

MP3 = SAMPLES["mp3"]
API = "/api/v1"
SUBMIT = 'curl -X POST "http://HOST/api/v1/transcribe-async" -F "file=@audio.mp3" -F "model=base"'

SYNCHRONOUS = """
import requests

with open('audio.mp3', 'rb') as f:
    response = requests.post(
        'http://HOST/api/v1/transcribe',
        files={'file': f},
        data={'language': 'en', 'model': 'base', 'response_format': 'json'},
    )

result = response.json()
print(result['text'])
"""
POLLING = """
import requests
import time

with open('audio.mp3', 'rb') as f:
    response = requests.post(
        'http://HOST/api/v1/transcribe-async',
        files={'file': f},
        data={'model': 'base', 'language': 'en'},
    )

job_id = response.json()['job_id']
print(f"Job submitted: {job_id}")

while True:
    status = requests.get(f'http://HOST/api/v1/status/{job_id}').json()
    if status['status'] == 'completed':
        print("Transcription:", status['result']['text'])
        break
    elif status['status'] == 'failed':
        print("Error:", status['error'])
        break
    print(f"Progress: {status.get('progress', 0)}%")
    time.sleep(0.2)
"""
FUNCTION = """
import requests
import time


def transcribe_async(file_path, model='base'):
    with open(file_path, 'rb') as f:
        response = requests.post(
            'http://HOST/api/v1/transcribe-async', files={'file': f}, data={'model': model}
        )
    job_id = response.json()['job_id']
    while True:
        status = requests.get(f'http://HOST/api/v1/status/{job_id}').json()
        if status['status'] == 'completed':
            return status['result']
        elif status['status'] == 'failed':
            raise Exception(status.get('error', 'Unknown error'))
        time.sleep(0.2)


result = transcribe_async('audio.mp3', model='base')
print(result['text'])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return recordings(tmp_path)


def submitted(platform: TestPlatform, here: Path, command: str = SUBMIT) -> str:
    answer = curl(command, url=platform.url, where=here)
    assert answer.status == 202
    assert set(answer.json) == {"job_id", "status", "message", "status_url", "estimated_time"}
    assert answer.json["status"] == "pending"
    assert answer.json["message"] == "Transcription job accepted and queued for processing"
    assert answer.json["status_url"] == f"{API}/status/{answer.json['job_id']}"
    assert isinstance(answer.json["estimated_time"], int)
    return str(answer.json["job_id"])


def status_of(platform: TestPlatform, here: Path, job_id: str) -> Any:
    answer = curl(f'curl "http://HOST/api/v1/status/{job_id}"', url=platform.url, where=here)
    assert answer.status == 200
    assert answer.json["status"] in {"pending", "processing", "completed", "failed"}
    assert 0 <= answer.json["progress"] <= 100
    return answer.json


def is_the_transcript(result: Any, *, words: bool) -> None:
    assert result["text"].split() == MP3.transcript.split()
    assert result["language"] == "en"
    assert 0 <= result["language_probability"] <= 1
    assert result["duration"] == pytest.approx(MP3.duration_s, abs=0.2)
    assert result["processing_time"] >= 0
    assert [segment["id"] for segment in result["segments"]] == list(range(len(MP3.segments)))
    for segment, said in zip(result["segments"], MP3.segments, strict=True):
        assert segment["text"] == said.text
        assert segment["start"] < segment["end"]
        assert 0.3 < segment["confidence"] <= 1
        assert (segment["words"] is not None) == words
        for word in segment["words"] or []:
            assert set(word) == {"word", "start", "end", "confidence"}
            assert word["word"] == word["word"].strip()
            assert 0 <= word["confidence"] <= 1


@pytest.mark.parametrize(
    "command",
    [
        'curl -X POST "http://HOST/api/v1/transcribe" -F "file=@audio.mp3" -F "language=en"',
        (
            'curl -X POST "http://HOST/api/v1/transcribe" -H "Content-Type: multipart/form-data" -F "file=@audio.mp3" '
            '-F "language=en" -F "model=base" -F "response_format=json"'
        ),
        'curl -X POST "http://HOST/api/v1/transcribe" -F "file=@test.mp3" -F "model=base"',
    ],
)
def test_curl_transcribes_at_once(platform: TestPlatform, here: Path, command: str) -> None:
    answer = curl(command, url=platform.url, where=here)
    assert answer.status == 200
    is_the_transcript(answer.json, words=False)


def test_words_come_with_their_confidences(platform: TestPlatform, here: Path) -> None:
    command = 'curl "http://HOST/api/v1/transcribe" -F "file=@audio.mp3" -F "timestamp_granularity=word"'
    is_the_transcript(curl(command, url=platform.url, where=here).json, words=True)


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("text", "text/plain", MP3.segments[0].text),
        ("srt", "application/x-subrip", "1\n00:00:0"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:0"),
    ],
)
def test_every_format_comes_with_its_type(
    platform: TestPlatform, here: Path, form: str, kind: str, begins: str
) -> None:
    command = f'curl "http://HOST/api/v1/transcribe" -F "file=@audio.mp3" -F "response_format={form}"'
    answer = curl(command, url=platform.url, where=here)
    assert answer.headers["content-type"].startswith(kind)
    assert answer.body.startswith(begins)
    assert MP3.segments[-1].text in answer.body


@pytest.mark.parametrize("command", [SUBMIT, 'curl -X POST "http://HOST/api/v1/transcribe-async" -F "file=@test.mp3"'])
def test_curl_submits_polls_and_deletes(platform: TestPlatform, here: Path, command: str) -> None:
    job_id = submitted(platform, here, command)
    eventually(lambda: status_of(platform, here, job_id)["status"] == "completed", within_s=60, every_s=0.2)
    status = status_of(platform, here, job_id)
    assert (status["job_id"], status["progress"], status["error"]) == (job_id, 100, None)
    for name in ("created_at", "completed_at"):
        assert status[name].endswith("Z")
        assert datetime.fromisoformat(status[name])
    is_the_transcript(status["result"], words=False)

    listed = curl('curl "http://HOST/api/v1/jobs?status=completed"', url=platform.url, where=here).json
    assert job_id in [job["job_id"] for job in listed["jobs"]]
    deleted = curl(f'curl -X DELETE "http://HOST/api/v1/jobs/{job_id}"', url=platform.url, where=here)
    assert (deleted.status, deleted.json["job_id"]) == (200, job_id)
    gone = curl(f'curl "http://HOST/api/v1/status/{job_id}"', url=platform.url, where=here)
    assert (gone.status, gone.json["code"]) == (404, "job_not_found")


def test_curl_lists_and_cancels_running_jobs(platform: TestPlatform, here: Path) -> None:
    (here / "audio.mp3").write_bytes(SAMPLES["long"].path.read_bytes() + bytes(64))
    job_id = submitted(platform, here)
    listed = curl('curl "http://HOST/api/v1/jobs?status=processing"', url=platform.url, where=here)
    assert listed.status == 200
    assert {job["status"] for job in listed.json["jobs"]} <= {"processing"}
    canceled = curl(f'curl -X POST "http://HOST/api/v1/jobs/{job_id}/cancel"', url=platform.url, where=here)
    assert (canceled.status, canceled.json["message"]) == (200, "Job canceled")
    # Its polling clients end at one of two words.
    status = status_of(platform, here, job_id)
    assert (status["status"], status["error"], status["result"]) == ("failed", "the job was canceled", None)
    again = curl(f'curl -X POST "http://HOST/api/v1/jobs/{job_id}/cancel"', url=platform.url, where=here)
    assert (again.status, again.json["code"]) == (409, "job_finished")


@pytest.mark.parametrize("example", [SYNCHRONOUS, POLLING, FUNCTION], ids=["synchronous", "polling", "function"])
def test_the_python_examples_print_the_transcript(platform: TestPlatform, here: Path, example: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.replace("http://HOST", platform.url), "example.py", "exec"), {})
    last = printed.getvalue().splitlines()[-1].removeprefix("Transcription: ")
    assert last.split() == MP3.transcript.split()


def test_a_video_is_transcribed_like_a_recording(platform: TestPlatform, here: Path) -> None:
    (here / "talk.mp4").write_bytes(SAMPLES["video"].path.read_bytes())
    answer = curl('curl "http://HOST/api/v1/transcribe" -F "file=@talk.mp4"', url=platform.url, where=here)
    assert answer.json["text"].split() == SAMPLES["video"].transcript.split()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/health", {"status"}),
        ("/health/live", {"status"}),
        ("/health/ready", {"status"}),
        ("/health/async", {"status", "queue", "workers"}),
        (f"{API}/models", {"models", "default"}),
        (f"{API}/languages", {"languages"}),
    ],
)
def test_curl_sees_health_models_and_languages(platform: TestPlatform, here: Path, path: str, names: set[str]) -> None:
    answer: Answer = curl(f"curl http://HOST{path}", url=platform.url, where=here)
    assert answer.status == 200
    assert set(answer.json) >= names


def test_the_model_sizes_that_its_clients_name_are_listed(platform: TestPlatform) -> None:
    listed = {model["name"] for model in httpx.get(f"{platform.url}{API}/models").json()["models"]}
    assert {"tiny", "base", "small", "medium", "large", "large-v3"} <= listed
    languages = httpx.get(f"{platform.url}{API}/languages").json()["languages"]
    assert {"code": "en", "name": "english"} in languages


@pytest.mark.parametrize("route", ["/transcribe", "/transcribe-async"])
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"language": "xx"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"temperature": "7"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"response_format": "yaml"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"timestamp_granularity": "line"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"model": "no-such-model"}}, 422, "model_not_served"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"modell": "base"}}, 422, "unknown_option"),
        ({"files": {"audio": ("a.mp3", b"x")}}, 400, "missing_file"),
        ({"json": {"file": "a.mp3"}}, 400, "missing_file"),
        ({"json": {"audio": "%%%"}}, 400, "bad_base64"),
        ({"files": {"file": ("a.mp3", b"")}}, 400, "empty_file"),
        ({"files": {"file": ("a.mp3", b"no audio" * 200)}}, 415, "unsupported_media"),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(
    platform: TestPlatform, route: str, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = httpx.post(f"{platform.url}{API}{route}", **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/status/never-there"), ("POST", "/jobs/never-there/cancel"), ("DELETE", "/jobs/never-there")],
)
def test_an_unknown_job_is_not_found(platform: TestPlatform, method: str, path: str) -> None:
    answer = httpx.request(method, f"{platform.url}{API}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_an_unknown_state_is_refused(platform: TestPlatform) -> None:
    answer = httpx.get(f"{platform.url}{API}/jobs", params={"status": "lost"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")


def test_murmur_purge_does_what_its_script_did(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_api(api_settings(redis_url, tmp_path)) as http:
        for hertz in (300, 400, 500):
            files = {"file": ("a.wav", audio_files.wav(0.2, hertz=hertz))}
            assert http.post(f"{API}/transcribe-async", files=files).status_code == 202
        monkeypatch.setattr(sys, "argv", ["murmur", "purge", "--yes", "--url", str(http.base_url)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        assert "3 jobs canceled\n" in capsys.readouterr().out
        assert {job["status"] for job in http.get("/v1/jobs").json()["jobs"]} == {"canceled"}
