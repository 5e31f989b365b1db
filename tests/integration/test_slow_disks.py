"""What clients hear while a disk is slow, full or gone: nobody waits for it who needn't."""

import threading
from functools import partial
from pathlib import Path

import httpx
import pytest

from api.jobs import machine
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.platform import eventually
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Security
from transcription.storage.part_file import PartFile


def test_a_share_that_hangs_stops_uploads_and_nothing_else(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    read = machine.read

    def hung(directory: Path) -> machine.Reading:
        answers.wait(60)
        return read(directory)

    monkeypatch.setattr(machine, "read", hung)
    with live_api(api_settings(redis_url, tmp_path)) as api:
        try:
            refused = api.post("/v1/jobs", files={"file": audio_files.wav()})
            assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            assert api.get("/health/live").status_code == 200
            assert api.get("/health").status_code == 200
            assert api.get("/metrics").status_code == 200
        finally:
            answers.set()
        eventually(lambda: api.post("/v1/jobs", files={"file": audio_files.wav()}).status_code == 202)


def test_uploads_that_hang_in_the_disk_hold_no_thread_that_an_answer_waits_for(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, hanging = threading.Event(), []
    write = PartFile.write

    def hung(file: PartFile, data: bytes) -> int:
        hanging.append(1)
        answers.wait(60)
        return write(file, data)

    settings = api_settings(redis_url, tmp_path)
    with (
        live_api(settings) as api,
        connect(settings.ledger) as client,
        httpx.Client(base_url=api.base_url, timeout=90) as uploader,
    ):
        job = api.post("/v1/jobs", files={"file": audio_files.wav()}).json()["id"]
        LedgerWorker(RedisSpans(client, settings)).work()
        monkeypatch.setattr(PartFile, "write", hung)
        send = partial(uploader.post, "/v1/jobs", files={"file": audio_files.wav(2.0)})
        uploads = [threading.Thread(target=send) for _ in range(40)]
        try:
            for upload in uploads:
                upload.start()
            eventually(lambda: len(hanging) >= 16, within_s=30)
            assert api.get(f"/v1/jobs/{job}/result").json()["text"] == "hello world"
        finally:
            answers.set()
            for upload in uploads:
                upload.join(60)


def test_a_full_disk_under_the_audit_log_refuses_nobody(redis_url: str, tmp_path: Path) -> None:
    security = Security(sandbox=False, audit_log="/dev/full")
    settings = api_settings(redis_url, tmp_path).model_copy(update={"security": security})
    with live_api(settings) as api:
        accepted = api.post("/v1/jobs", files={"file": audio_files.wav()})
        assert accepted.status_code == 202
        assert api.post(f"/v1/jobs/{accepted.json()['id']}/cancel").status_code == 200
        eventually(lambda: "murmur_audit_lines_lost_total 2.0" in api.get("/metrics").text)


def test_an_audit_log_that_was_moved_away_is_begun_anew(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    security = Security(sandbox=False, audit_log=str(log))
    settings = api_settings(redis_url, tmp_path / "data").model_copy(update={"security": security})
    with live_api(settings) as api:
        api.post("/v1/jobs", files={"file": audio_files.wav()})
        log.rename(tmp_path / "audit.jsonl.1")
        api.post("/v1/jobs", files={"file": audio_files.wav(2.0)})
    assert len((tmp_path / "audit.jsonl.1").read_text().splitlines()) == 1
    assert len(log.read_text().splitlines()) == 1
