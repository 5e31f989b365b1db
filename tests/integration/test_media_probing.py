"""Every route that takes a file looks into it in the sandbox, and counts it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests import audio_files
from tests.live_api import api_process, api_settings, live_api
from tests.secured_api import WAV, bearer, settings_for

LOOKS = ("/debug/audio-info", "/v1/jobs", "/v1/audio/transcriptions", "/api/v1/transcribe-async")


def send(http: httpx.Client, path: str, audio: bytes, **headers: str) -> httpx.Response:
    return http.post(path, files={"file": ("a.mp4", audio)}, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def warm(ledger_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, int, int]]:
    """An API that has looked into a file: a client of it, its process, and the bytes that this has by now."""
    with api_process(api_settings(ledger_url, tmp_path_factory.mktemp("api"))) as (http, process):
        assert send(http, "/debug/audio-info", WAV).status_code == 200
        yield http, process.pid, psutil.Process(process.pid).memory_info().rss


@pytest.mark.parametrize("path", LOOKS)
def test_a_file_whose_tables_claim_gigabytes_costs_the_api_nothing(
    warm: tuple[httpx.Client, int, int], path: str
) -> None:
    http, pid, before = warm
    for _ in range(3):
        answer = send(http, path, audio_files.claiming(60_000_000))
        assert 400 <= answer.status_code < 500
    assert _peak(pid) - before < 100 << 20


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_a_look_into_a_file_counts_as_a_submit(redis_url: str, tmp_path: Path) -> None:
    tiers = {"small": {"submits_per_hour": 2}}
    with live_api(settings_for(redis_url, tmp_path, tiers=tiers)) as http:
        key = bearer(redis_url, tier="small")
        statuses = [send(http, "/debug/audio-info", WAV, **key).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
