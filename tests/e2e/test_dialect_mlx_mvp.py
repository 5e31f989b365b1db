"""The MLX MVP's clients: its curl commands, its headers, its log line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from demo import SAMPLES
from tests.live_api import live_api
from tests.platform import TestPlatform, eventually
from tests.seed_requests import curl, recordings
from transcription.settings import Api, Limits, Security

SHORT = SAMPLES["short"]
LOG_FIELDS = {
    "request_id",
    "timestamp",
    "processing_time_ms",
    "status",
    "file_size_bytes",
    "client_ip",
    "audio_hash",
    "error_message",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return recordings(tmp_path)


def request_lines(platform: TestPlatform, request_id: str) -> list[dict[str, Any]]:
    """The API's log lines of one request."""
    lines = [line.partition("| ")[2] for line in platform.lines if line.startswith("api")]
    return [
        json.loads(line) for line in lines if f'"request_id":"{request_id}"' in line and '"event":"request"' in line
    ]


@pytest.mark.parametrize(
    "command",
    [
        'curl -X POST "http://HOST/v1/transcribe" -H "Content-Type: multipart/form-data" -F "file=@audio.wav"',
        'curl -X POST "http://HOST/v1/transcribe" -F "file=@test_audio.wav"',
    ],
)
def test_curl_gets_the_text_alone_and_the_request_is_logged(platform: TestPlatform, here: Path, command: str) -> None:
    answer = curl(command, url=platform.url, where=here)
    assert answer.status == 200
    assert set(answer.json) == {"text"}
    assert answer.json["text"].split() == SHORT.transcript.split()

    (line,) = eventually(lambda: request_lines(platform, answer.headers["x-request-id"]))
    assert set(line) >= LOG_FIELDS
    assert (line["status"], line["file_size_bytes"]) == (200, SHORT.path.stat().st_size)
    assert len(line["audio_hash"]) == 64
    assert line["client_ip"] == "127.0.0.1"
    assert line["error_message"] is None


@pytest.mark.parametrize(
    "command", ["curl http://HOST/health", "curl -f http://HOST/health", "curl -s http://HOST/health"]
)
def test_curl_sees_its_health(platform: TestPlatform, here: Path, command: str) -> None:
    health = curl(command, url=platform.url, where=here).json
    assert health["status"] == "ok"
    assert 0 < health["memory_percent"] <= 100
    assert health["active_tasks"] >= 0


def test_metrics_as_json_come_by_the_accept_header(platform: TestPlatform, here: Path) -> None:
    answer = curl('curl -s -H "Accept: application/json" http://HOST/metrics', url=platform.url, where=here)
    assert set(answer.json) == {"total_requests", "accepted_requests", "rejected_requests", "avg_processing_time_ms"}


@pytest.fixture(scope="module")
def mlx_mvp(platform: TestPlatform) -> Iterator[httpx.Client]:
    """Another API of the same platform, set up for this dialect's clients."""
    api = Api(metrics_format="json", rapidapi_secret=SecretStr("hush"))
    limits = Limits(min_free_disk_bytes=0, max_memory_percent=100, max_upload_bytes=1_000_000)
    with live_api(platform.settings.model_copy(update={"api": api, "limits": limits})) as http:
        yield http


def test_by_a_setting_metrics_are_json_for_its_unchanged_commands(mlx_mvp: httpx.Client, here: Path) -> None:
    answer = curl("curl -s http://HOST/metrics", url=str(mlx_mvp.base_url).rstrip("/"), where=here)
    assert answer.json["total_requests"] >= answer.json["accepted_requests"] >= 0
    assert isinstance(answer.json["avg_processing_time_ms"], float)


def test_the_marketplace_proves_itself_by_its_secret(mlx_mvp: httpx.Client) -> None:
    def ask(**headers: str) -> httpx.Response:
        file = ("marketplace.flac", SHORT.path.read_bytes())
        return mlx_mvp.post("/v1/transcribe", files={"file": file}, headers=headers)

    assert ask().status_code == 401
    guessed = ask(**{"X-RapidAPI-Proxy-Secret": "guessed"})
    assert (guessed.status_code, guessed.json()["code"]) == (401, "unauthorized")
    answer = ask(**{"X-RapidAPI-Proxy-Secret": "hush", "X-RapidAPI-User": "ann"})
    assert answer.status_code == 200
    # Its users are tenants of their own: what is theirs isn't another's to see.
    jobs = mlx_mvp.get("/v1/jobs?limit=200").json()["jobs"]
    assert "marketplace.flac" not in [job["audio"]["filename"] for job in jobs]


def test_each_user_of_the_marketplace_has_the_quotas_of_his_subscription(
    platform: TestPlatform, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    tiers = {"free": {"submits_per_hour": 1}, "pro": {"submits_per_hour": 2}}
    security = Security.model_validate({"default_tier": "free", "tiers": tiers, "audit_log": str(log)})
    api = Api(rapidapi_secret=SecretStr("hush"))
    with live_api(platform.settings.model_copy(update={"api": api, "security": security})) as http:

        def ask(user: str, **more: str) -> int:
            proof = {"X-RapidAPI-Proxy-Secret": "hush", "X-RapidAPI-User": user, **more}
            file = (SHORT.path.name, SHORT.path.read_bytes())
            return http.post("/v1/transcribe", files={"file": file}, headers=proof).status_code

        name = tmp_path.name
        assert [ask(f"ann-{name}") for _ in range(2)] == [200, 429]
        assert [ask(f"bob-{name}", **{"X-RapidAPI-Subscription": "PRO"}) for _ in range(3)] == [200, 200, 429]
        assert ask(f"eve-{name}", **{"X-RapidAPI-Subscription": "made-up"}) == 200
    submits = [json.loads(line) for line in log.read_text().splitlines() if '"submit"' in line]
    assert [line["tenant"] for line in submits] == [f"rapidapi:{who}-{name}" for who in ("ann", "bob", "bob", "eve")]


def test_the_marketplace_s_user_is_logged(platform: TestPlatform) -> None:
    file = (SHORT.path.name, SHORT.path.read_bytes())
    named = {"X-RapidAPI-User": "ann"}
    answer = httpx.post(f"{platform.url}/v1/transcribe", files={"file": file}, headers=named, timeout=60)
    (line,) = eventually(lambda: request_lines(platform, answer.headers["x-request-id"]))
    assert line["rapidapi_user"] == "ann"


def test_a_file_over_the_limit_is_too_large(mlx_mvp: httpx.Client) -> None:
    answer = mlx_mvp.post(
        "/v1/transcribe", files={"file": ("a.wav", bytes(2_000_000))}, headers={"X-RapidAPI-Proxy-Secret": "hush"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"max_memory_percent": 0.001}, "memory_pressure"), ({"min_free_disk_bytes": 1 << 60}, "disk_full")],
)
def test_a_busy_platform_says_503_and_when_to_come_again(
    platform: TestPlatform, limits: dict[str, Any], code: str
) -> None:
    pressed = Limits.model_validate({"min_free_disk_bytes": 0, "max_memory_percent": 100, **limits})
    with live_api(platform.settings.model_copy(update={"limits": pressed})) as http:
        answer = http.post("/v1/transcribe", files={"file": ("a.wav", b"x")})
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": {"file": ("a.mp3", b"no audio" * 200)}}, 415, "unsupported_media"),
        ({"files": {"file": ("a.mp3", b"")}}, 400, "empty_file"),
        ({"files": {"audio_file": ("a.mp3", b"x")}}, 400, "missing_file"),
        ({"json": {"file": "a.mp3"}}, 400, "missing_file"),
        ({"json": {"audio": "%%%"}}, 400, "bad_base64"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"language": "xx"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"temperature": "7"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"response_format": "yaml"}}, 422, "invalid_option"),
        ({"files": {"file": ("a.mp3", b"x")}, "data": {"model": "no-such-model"}}, 422, "model_not_served"),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(
    platform: TestPlatform, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = httpx.post(f"{platform.url}/v1/transcribe", **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    (line,) = eventually(lambda: request_lines(platform, answer.headers["x-request-id"]))
    assert line["error_message"] == answer.json()["detail"]
