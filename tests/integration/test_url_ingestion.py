"""Recordings that are handed in by their URL: fetched like an upload, and never from inside."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import audio_files
from tests.live_api import api_settings, live_api
from tests.receiver import Receiver, receiving, status
from transcription.settings.outbound import Outbound

AUDIO = audio_files.wav(2.0)


@contextmanager
def api_with(redis_url: str, root: Path, outbound: dict[str, Any], **limits: float) -> Iterator[httpx.Client]:
    settings = api_settings(redis_url, root, **limits)
    with live_api(settings.model_copy(update={"outbound": Outbound.model_validate(outbound)})) as client:
        yield client


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with api_with(redis_url, tmp_path, {"allow_private_addresses": True}, max_upload_bytes=100_000) as client:
        yield client


@pytest.fixture
def files() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def url(files: Receiver, path: str = "/talk.wav") -> str:
    return f"http://127.0.0.1:{files.port}{path}"


def blobs(root: Path) -> list[Path]:
    return [path for path in (root / "blobs").rglob("*") if path.is_file()]


def refused(answer: httpx.Response, code: str, status_code: int = 422) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status_code, code)
    detail: str = answer.json()["detail"]
    return detail


def test_recording_at_a_url_becomes_the_same_job_as_one_that_is_sent(api: httpx.Client, files: Receiver) -> None:
    files.answers += [status(200, AUDIO, content_type="audio/wav")]
    job = api.post("/v1/jobs", json={"url": url(files, "/a%20b/talk.wav?token=1"), "language": "en"}).json()
    assert job["audio"]["filename"] == "talk.wav"
    assert (job["audio"]["bytes"], job["options"]["language"]) == (len(AUDIO), "en")
    sent = api.post("/v1/jobs", files={"file": AUDIO}, data={"language": "en"}).json()
    assert sent["audio"]["sha256"] == job["audio"]["sha256"]
    assert files.received[0].headers["host"] == f"127.0.0.1:{files.port}"
    # What came is stored as it came: zipped, it would be no recording.
    assert files.received[0].headers["accept-encoding"] == "identity"


def test_name_comes_from_the_client_else_from_the_server(api: httpx.Client, files: Receiver) -> None:
    named = {"content_disposition": 'attachment; filename="../from server.wav"'}
    files.answers += [status(200, AUDIO, **named), status(200, AUDIO, **named)]
    assert api.post("/v1/jobs", json={"url": url(files)}).json()["audio"]["filename"] == "from server.wav"
    answer = api.post("/v1/jobs", json={"url": url(files), "filename": "mine.wav"})
    assert answer.json()["audio"]["filename"] == "mine.wav"


def test_server_s_name_is_read_however_it_is_written(api: httpx.Client, files: Receiver) -> None:
    written = {
        b'filename="plain.wav"': "plain.wav",
        'filename="речь.wav"'.encode(): "речь.wav",
        'filename="grüße.wav"'.encode("latin-1"): "grüße.wav",
        b"filename=_.wav; filename*=UTF-8''%D1%80%D0%B5%D1%87%D1%8C.wav": "речь.wav",
        b"filename*=iso-8859-1'de'gr%FC%DFe.wav": "grüße.wav",
        "filename=\"речь.wav\"; filename*=UTF-8''talk.wav".encode(): "talk.wav",
    }
    files.answers += [
        status(200, AUDIO, content_disposition=f"attachment; {header.decode('latin-1')}") for header in written
    ]
    answers = [api.post("/v1/jobs", json={"url": url(files)}).json() for _ in written]
    assert [answer["audio"]["filename"] for answer in answers] == list(written.values())


def test_redirects_are_followed_five_times_and_judged_each_time(api: httpx.Client, files: Receiver) -> None:
    hop = status(302, location="/next")
    files.answers += [hop] * 5 + [status(200, AUDIO)]
    assert api.post("/v1/jobs", json={"url": url(files)}).status_code == 202
    files.answers += [hop] * 6
    assert "more than 5 times" in refused(api.post("/v1/jobs", json={"url": url(files)}), "url_unreachable")
    for inside in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/"):
        files.answers += [status(302, location=inside)]
        refused(api.post("/v1/jobs", json={"url": url(files)}), "url_not_allowed")


def test_redirect_inside_is_refused(
    redis_url: str, tmp_path: Path, files: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To this test alone, the receiver's address is a public one.
    monkeypatch.setattr("transcription.network.guard.is_public", lambda address: address == "127.0.0.1")
    with api_with(redis_url, tmp_path, {}) as api:
        for inside in ("http://127.0.0.2/", "http://169.254.169.254/latest/", "http://[::1]/"):
            files.answers += [status(302, location=inside)]
            said = refused(api.post("/v1/jobs", json={"url": url(files)}), "url_not_allowed")
            assert "open internet" in said


def test_url_that_leads_inside_is_refused_by_default_and_every_url_where_it_isn_t_enabled(
    redis_url: str, tmp_path: Path, files: Receiver
) -> None:
    with api_with(redis_url, tmp_path, {}) as api:
        refused(api.post("/v1/jobs", json={"url": url(files)}), "url_not_allowed")
        # Nobody learns from the answer which names there are inside.
        refused(api.post("/v1/jobs", json={"url": "http://no-such-host.invalid/a.wav"}), "url_not_allowed")
    with api_with(redis_url, tmp_path, {"url_ingestion": False, "allow_private_addresses": True}) as api:
        said = refused(api.post("/v1/jobs", json={"url": url(files)}), "url_not_allowed")
        assert "MURMUR_OUTBOUND__URL_INGESTION" in said
    assert files.received == []


def test_too_large_is_refused_by_its_length_or_by_what_comes(
    api: httpx.Client, files: Receiver, tmp_path: Path
) -> None:
    files.answers += [status(200, b"", content_length="100001")]
    refused(api.post("/v1/jobs", json={"url": url(files)}), "too_large", 413)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not files.closing.is_set():
            handler.wfile.write(b"x" * 10_000)

    files.answers += [endless]
    refused(api.post("/v1/jobs", json={"url": url(files)}), "too_large", 413)
    assert blobs(tmp_path) == []


def test_what_is_no_recording_is_refused(api: httpx.Client, files: Receiver, tmp_path: Path) -> None:
    files.answers += [
        status(200, b"<html>", content_type="text/html; charset=utf-8"),
        status(200, b"<html>", content_type="audio/mpeg"),
        status(200, b""),
        status(404),
        status(206, AUDIO),
    ]
    said = refused(api.post("/v1/jobs", json={"url": url(files)}), "unsupported_media", 415)
    assert "leads to text/html" in said
    refused(api.post("/v1/jobs", json={"url": url(files)}), "unsupported_media", 415)
    refused(api.post("/v1/jobs", json={"url": url(files)}), "empty_file", 400)
    assert "404" in refused(api.post("/v1/jobs", json={"url": url(files)}), "url_unreachable")
    refused(api.post("/v1/jobs", json={"url": url(files)}), "url_unreachable")
    assert blobs(tmp_path) == []


def test_bad_options_are_said_before_anything_is_fetched(api: httpx.Client, files: Receiver) -> None:
    refused(api.post("/v1/jobs", json={"url": url(files), "temperature": 7}), "invalid_option")
    refused(api.post("/v1/jobs", json={"url": url(files), "colour": "red"}), "unknown_option")
    both = {"url": url(files), "audio": "QUJD"}
    refused(api.post("/v1/jobs", json=both), "malformed_request", 400)
    assert files.received == []


def test_server_that_is_slow_cut_off_or_not_there_is_said_so(redis_url: str, tmp_path: Path, files: Receiver) -> None:
    outbound = {"allow_private_addresses": True, "fetch_timeout_s": 0.5}
    with api_with(redis_url, tmp_path, outbound) as api:
        files.answers += [files.hang, files.drip, status(200, AUDIO[:100], content_length="5000")]
        for _ in range(2):
            said = refused(api.post("/v1/jobs", json={"url": url(files)}), "url_unreachable")
            assert "MURMUR_OUTBOUND__FETCH_TIMEOUT_S" in said
        refused(api.post("/v1/jobs", json={"url": url(files)}), "url_unreachable")
        refused(api.post("/v1/jobs", json={"url": "http://127.0.0.1:1/a.wav"}), "url_unreachable")
        answer = api.post("/v1/jobs", json={"url": "http://no-such-host.invalid/a.wav"})
        refused(answer, "url_unreachable")
        assert int(answer.headers["retry-after"]) >= 1
    assert blobs(tmp_path) == []
