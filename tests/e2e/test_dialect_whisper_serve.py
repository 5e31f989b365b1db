"""Whisper Serve's clients: its curl commands, and its own body for errors."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import SAMPLES
from tests import audio_files
from tests.live_api import live_api
from tests.platform import TestPlatform
from tests.seed_requests import curl, recordings
from transcription.settings import Api, Limits

SHORT = SAMPLES["short"]
FIELDS = {"success", "text", "latency", "word_count", "gpu_memory", "error"}


@pytest.mark.parametrize(
    "command",
    [
        "curl -X POST http://HOST/transcribe -F 'audio_file=@WHERE/audio.wav'",
        "curl -X POST http://HOST/transcribe -F 'audio_file=@WHERE/audio.wav' -v --max-time 300",
    ],
)
def test_curl_gets_the_transcript_at_once(platform: TestPlatform, tmp_path: Path, command: str) -> None:
    recordings(tmp_path)
    answer = curl(command.replace("WHERE", str(tmp_path)), url=platform.url, where=tmp_path)
    assert answer.status == 200
    assert set(answer.json) == FIELDS
    assert (answer.json["success"], answer.json["error"]) == (True, None)
    assert answer.json["text"].split() == SHORT.transcript.split()
    assert answer.json["word_count"] == len(SHORT.transcript.split())
    assert 0 < answer.json["latency"] < 60
    assert isinstance(answer.json["gpu_memory"], float)


def test_by_a_setting_health_says_its_word(platform: TestPlatform, tmp_path: Path) -> None:
    with live_api(platform.settings.model_copy(update={"api": Api(health_status="healthy")})) as http:
        answer = curl("curl http://HOST/health", url=str(http.base_url).rstrip("/"), where=tmp_path)
    assert answer.json["status"] == "healthy"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"files": {"audio_file": ("a.mp3", audio_files.text())}}, "no audio or video"),
        ({"files": {"audio_file": ("a.mp3", b"")}}, "has no bytes"),
        ({"files": {"audio_file": ("a.mp4", audio_files.video(sound=False))}}, "no audio stream"),
        ({"data": {"x": "y"}, "files": {"audio_file": (None, "text")}}, "holds text"),
        ({"files": {"audio_file": ("a.mp3", b"x")}, "data": {"language": "xx"}}, "'xx'"),
        ({"files": {"audio_file": ("a.mp3", b"x")}, "data": {"temperature": "7"}}, "temperature"),
        ({"files": {"audio_file": ("a.mp3", b"x")}, "data": {"response_format": "yaml"}}, "response_format"),
        ({"files": {"audio_file": ("a.mp3", b"x")}, "data": {"model": "no-such-model"}}, "no-such-model"),
    ],
)
def test_a_mistake_has_its_own_body(platform: TestPlatform, request_: dict[str, Any], said: str) -> None:
    answer = httpx.post(f"{platform.url}/transcribe", **request_)
    body = answer.json()
    assert answer.status_code == 400
    assert set(body) == FIELDS
    assert said in body.pop("error")
    assert body.pop("latency") >= 0
    assert body == {"success": False, "text": "", "word_count": 0, "gpu_memory": 0}


def test_a_platform_under_pressure_says_when_to_come_again(platform: TestPlatform) -> None:
    pressed = Limits(min_free_disk_bytes=1 << 60)
    with live_api(platform.settings.model_copy(update={"limits": pressed})) as http:
        answer = http.post("/transcribe", files={"audio_file": ("a.wav", b"x")})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_two_files_are_refused(platform: TestPlatform) -> None:
    files = {"audio_file": ("a.wav", b"x"), "file": ("b.wav", b"x")}
    answer = httpx.post(f"{platform.url}/transcribe", files=files)
    assert (answer.status_code, "second file" in answer.text) == (400, True)
