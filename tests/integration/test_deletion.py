"""What is deleted is gone at once, and after a while from the append-only file too."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from typer.testing import CliRunner

from murmur.cli.main import app as cli
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.platform import eventually, running_ledger
from tests.secured_api import bearer, key_store, settings_for
from transcription.access import Scope
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings

SECRET = "the-patient-s-name"


def files(root: Path) -> list[str]:
    return [path.name for path in (root / "blobs").rglob("*") if path.is_file()]


def hand_in(http: httpx.Client, hertz: float = 440, **how: str) -> str:
    answer = http.post(
        "/v1/jobs",
        files={"file": ("a.wav", audio_files.wav(0.2, hertz=hertz))},
        data={"prompt": SECRET},
        headers=how,
    )
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


def test_a_recording_that_has_just_come_is_gone_when_its_only_job_is_deleted(api: httpx.Client, tmp_path: Path) -> None:
    job = hand_in(api)
    assert len(files(tmp_path)) == 1
    assert api.delete(f"/v1/jobs/{job}").status_code == 204
    assert files(tmp_path) == []


def test_a_recording_that_another_job_needs_stays(api: httpx.Client, tmp_path: Path) -> None:
    first, second = hand_in(api), hand_in(api)
    assert api.delete(f"/v1/jobs/{first}").status_code == 204
    assert len(files(tmp_path)) == 1
    assert api.delete(f"/v1/jobs/{second}").status_code == 204
    assert files(tmp_path) == []


def test_no_job_is_accepted_for_bytes_that_are_deleted_meanwhile(
    api: httpx.Client, settings: Settings, tmp_path: Path
) -> None:
    """The same recording comes and goes from many clients at once; whatever was accepted has its bytes."""
    failed: list[object] = []

    def come_and_go() -> None:
        with httpx.Client(base_url=api.base_url, timeout=60) as http:
            for _ in range(10):
                job = hand_in(http)
                if not files(tmp_path):
                    failed.append(job)
                http.delete(f"/v1/jobs/{job}")

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert failed == []
    assert files(tmp_path) == []


def test_the_append_only_file_forgets_what_was_deleted(tmp_path: Path) -> None:
    with running_ledger(tmp_path / "ledger") as server:
        settings = api_settings(server.url, tmp_path / "data")
        with live_api(settings) as http, connect(settings.ledger) as client:
            worker = LedgerWorker(RedisSpans(client, settings))
            job = hand_in(http)
            worker.work(" said-in-confidence")
            remembered = lambda word: any(  # noqa: E731
                word in path.read_bytes() for path in (tmp_path / "ledger").rglob("*.aof*") if path.is_file()
            )
            eventually(lambda: remembered(b"said-in-confidence") and remembered(SECRET.encode()))
            assert http.delete(f"/v1/jobs/{job}").status_code == 204
            assert not worker.spans.rewrite(after_s=3600)
            assert worker.spans.rewrite(after_s=0)
            eventually(lambda: not remembered(b"said-in-confidence") and not remembered(SECRET.encode()), within_s=30)
            assert not worker.spans.rewrite(after_s=0)  # once


@pytest.fixture
def purge(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    monkeypatch.setenv("MURMUR_LEDGER__URL", redis_url)
    monkeypatch.setenv("MURMUR_DATA_DIR", str(tmp_path))
    return CliRunner()


def test_a_tenant_is_purged_with_its_keys_and_nobody_else_is(
    purge: CliRunner, redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    settings = settings_for(redis_url, tmp_path)
    ours, theirs = bearer(redis_url, "acme", Scope.ADMIN), bearer(redis_url, "umbrella", Scope.ADMIN)
    with live_api(settings) as http:
        hand_in(http, 300, **ours)
        hand_in(http, 301, **ours, **{"Idempotency-Key": "once"})
        kept = hand_in(http, 302, **theirs)
        assert purge.invoke(cli, ["purge-tenant", "acme", "--yes"]).exit_code == 0
        assert http.get("/v1/jobs", headers=ours).status_code == 401
        assert http.get(f"/v1/jobs/{kept}", headers=theirs).status_code == 200
    assert len(files(tmp_path)) == 1
    with key_store(redis_url) as keys:
        assert {key.tenant for key in keys.list()} == {"umbrella"}
    assert not list(redis_server.scan_iter("*acme*"))
    told = [entry for _, entry in redis_server.xrange("murmur:audit") if entry["what"] == "tenant purged"]
    assert [(entry["tenant"], entry["jobs"], bool(entry["by"])) for entry in told] == [("acme", "2", True)]
    assert purge.invoke(cli, ["purge-tenant", "acme", "--yes"]).exception is not None
