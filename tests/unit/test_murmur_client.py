"""The client library against a server that answers what a test wants."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from murmur.client import retry
from murmur.client.async_client import AsyncClient
from murmur.client.client import Client
from murmur.client.errors import ApiError, JobEnded
from murmur.client.responses import RemoteJob
from tests.free_port import free_port
from transcription.job import Status

JOB = {"id": "j1", "status": "queued", "created_at": "2026-01-02T03:04:05Z", "a_new_field": 1}


class Server(ThreadingHTTPServer):
    """Answers with ``answers`` in turn, the last one for ever, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[tuple[str, dict[str, str], int]] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        length = left = int(self.headers.get("content-length", 0))
        kept = b""
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            kept += piece if length < 1 << 20 else b""
            left -= len(piece)
        self.server.requests.append((f"{self.command} {self.path}", dict(self.headers), length))
        self.server.bodies.append(kept)
        status, headers, body = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(sent)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_options_travel_as_form_fields_beside_the_file(server: Server) -> None:
    server.answers = [(202, {}, JOB)]
    audio = io.BytesIO(b"sound")
    with Client(server.url) as client:
        job = client.submit(audio, language="de", vad_filter=False, prompt=None, idempotency_key="k")
    assert (job.id, job.status) == ("j1", Status.QUEUED)
    (where, headers, _), (body,) = server.requests[0], server.bodies
    assert where == "POST /v1/jobs"
    assert headers["Idempotency-Key"] == "k"
    for part in (b'name="language"\r\n\r\nde\r\n', b'name="vad_filter"\r\n\r\nfalse\r\n', b"sound"):
        assert part in body
    assert b"prompt" not in body


def test_a_large_upload_is_not_held_in_memory(server: Server, tmp_path: Any) -> None:
    server.answers = [(202, {}, JOB)]
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    before = psutil.Process().memory_info().rss
    with Client(server.url) as client:
        client.submit(large)
    assert server.requests[0][2] > 300 << 20
    assert psutil.Process().memory_info().rss - before < 60 << 20


def test_a_problem_becomes_one_error(server: Server) -> None:
    problem = {"code": "queue_full", "detail": "too much waits", "title": "Try later"}
    server.answers = [(503, {"Retry-After": "7"}, problem)]
    with Client(server.url, patience_s=0) as client, pytest.raises(ApiError, match="too much waits") as error:
        client.job("j1")
    assert (error.value.code, error.value.status, error.value.retry_after) == ("queue_full", 503, 7.0)


def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same(server: Server) -> None:
    server.answers = [(502, {}, ["what a proxy says"])]
    with Client(server.url, patience_s=0) as client, pytest.raises(ApiError) as error:
        client.stats()
    assert (error.value.code, error.value.message) == ("http_502", "Bad Gateway")


def test_a_patient_client_tries_again_and_sends_the_whole_file(server: Server) -> None:
    server.answers = [(503, {"Retry-After": "0"}, {"code": "ledger_unavailable"}), (202, {}, JOB)]
    with Client(server.url, patience_s=5) as client:
        assert client.submit(io.BytesIO(b"sound")).id == "j1"
    assert len(server.bodies) == 2
    assert all(b"sound" in body for body in server.bodies)
    first, again = (headers["Idempotency-Key"] for _, headers, _ in server.requests)
    assert first == again != ""  # so that both make one job


UNKNOWN = (503, {"Retry-After": "0"}, {"code": "outcome_unknown", "job_id": "j1"})
AWAY = (503, {"Retry-After": "0"}, {"code": "ledger_unavailable"})
NOT_THERE = (404, {}, {"code": "job_not_found"})


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([UNKNOWN, AWAY, (200, {}, JOB)], ["POST /v1/jobs", "GET /v1/jobs/j1", "GET /v1/jobs/j1"]),
        ([UNKNOWN, NOT_THERE, (202, {}, JOB)], ["POST /v1/jobs", "GET /v1/jobs/j1", "POST /v1/jobs"]),
    ],
)
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_submit_whose_outcome_is_unknown_is_looked_up_and_sent_again_only_where_there_is_no_job(
    server: Server, answers: list[Any], asked: list[str], colour: str
) -> None:
    server.answers = list(answers)

    async def submitted() -> RemoteJob:
        async with AsyncClient(server.url) as client:
            return await client.submit(b"sound" * 1000)

    if colour == "async":
        job = asyncio.run(submitted())
    else:
        with Client(server.url) as client:
            job = client.submit(b"sound" * 1000)
    assert job.id == "j1"
    assert [where for where, _, _ in server.requests] == asked
    assert [length > 5000 for where, _, length in server.requests] == [where.startswith("POST") for where in asked]


def test_a_client_without_patience_names_the_job_whose_outcome_is_unknown(server: Server) -> None:
    server.answers = [UNKNOWN]
    with Client(server.url, patience_s=-1) as client, pytest.raises(ApiError) as error:
        client.submit(b"sound")
    assert (error.value.code, error.value.job_id) == ("outcome_unknown", "j1")


def test_a_patient_client_does_not_wait_longer_than_its_patience(server: Server) -> None:
    server.answers = [(503, {"Retry-After": "60"}, {"code": "ledger_unavailable"})]
    with Client(server.url, patience_s=1) as client, pytest.raises(ApiError):
        client.job("j1")
    assert len(server.requests) == 1


def test_a_refusal_for_good_is_not_tried_again(server: Server) -> None:
    server.answers = [(415, {}, {"code": "unsupported_media"})]
    with Client(server.url, patience_s=60) as client, pytest.raises(ApiError):
        client.submit(io.BytesIO(b"text"))
    assert len(server.requests) == 1


def test_nobody_there_is_an_error_that_names_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, patience_s=0) as client:
        assert not client.ready()
        with pytest.raises(ApiError, match=url) as error:
            client.health()
    assert (error.value.code, error.value.status) == ("unreachable", 0)


def test_waiting_ends_with_the_job(server: Server) -> None:
    server.answers = [(200, {}, JOB), (200, {}, JOB | {"status": "completed"})]
    with Client(server.url) as client:
        assert client.wait("j1", each_s=0.5).status == Status.COMPLETED
    assert [where for where, _, _ in server.requests] == ["GET /v1/jobs/j1?wait=0.5"] * 2


def test_waiting_for_a_job_that_fails_tells_why(server: Server) -> None:
    failure = {"code": "worker_lost", "message": "three workers died of it"}
    server.answers = [(200, {}, JOB | {"status": "failed", "error": failure})]
    with Client(server.url) as client, pytest.raises(JobEnded, match=r"j1 failed: three workers died.*worker_lost"):
        client.wait("j1")


def test_waiting_has_an_end(server: Server) -> None:
    server.answers = [(200, {}, JOB)]
    with Client(server.url) as client, pytest.raises(TimeoutError, match="still queued"):
        client.wait("j1", seconds=0.2, each_s=0.05)


def sse(*events: tuple[str, str, Any]) -> bytes:
    lines = [f"id: {name}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for name, kind, data in events]
    return ("retry: 1000\n\n: still here\n\n" + "".join(lines)).encode()


def test_following_goes_on_after_the_last_whole_event_when_the_connection_breaks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    status, one = ("1-0.0", "status", {"status": "processing"}), ("2-0.0", "segment", {"text": " one"})
    two, done = ("3-0.0", "segment", {"text": " two"}), ("4-0.1", "done", {"status": "completed"})
    server.answers = [
        (200, {}, sse(status, one) + b"id: 3-0.0\nevent: segment\nda"),
        (503, {}, {"code": "ledger_unavailable"}),
        (200, {}, sse(two, done)),
    ]
    with Client(server.url) as client:
        told = list(client.events("j1"))
    assert [(event.id, event.type, event.data) for event in told] == [status, one, two, done]
    assert [headers.get("Last-Event-ID") for _, headers, _ in server.requests] == [None, "2-0.0", "2-0.0"]


def test_following_ends_where_there_is_nothing_more_and_says_what_is_refused(server: Server) -> None:
    server.answers = [(204, {}, b""), (404, {}, {"code": "job_not_found", "detail": "no job 'j1'"})]
    with Client(server.url) as client:
        assert list(client.events("j1", after="4-0.1")) == []
        with pytest.raises(ApiError, match="no job 'j1'") as error:
            list(client.events("j1"))
    assert (error.value.code, error.value.status) == ("job_not_found", 404)


def test_following_is_given_up_when_the_platform_stays_away() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, patience_s=0.1) as client, pytest.raises(ApiError, match=url) as error:
        list(client.events("j1"))
    assert error.value.code == "unreachable"


def test_streams_that_only_ever_break_off_are_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)
    server.answers = [(200, {}, b"retry: 1000\n\n")]
    with Client(server.url, patience_s=0.1) as client, pytest.raises(ApiError, match="broke off"):
        list(client.events("j1"))


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_following_a_long_job_may_break_off_as_often_as_it_gets_on(
    server: Server, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    kinds = ["segment"] * 6 + ["done"]
    server.answers = [(200, {}, sse((f"{number}-0.0", kind, {}))) for number, kind in enumerate(kinds)]

    async def followed() -> list[str]:
        async with AsyncClient(server.url, patience_s=45) as client:
            return [event.type async for event in client.events("j1")]

    if colour == "async":
        assert asyncio.run(followed()) == kinds
    else:
        with Client(server.url, patience_s=45) as client:
            assert [event.type for event in client.events("j1")] == kinds


def test_webhooks_are_looked_at_and_replayed(server: Server) -> None:
    message = {"id": "msg_j1_1", "type": "job.completed", "timestamp": "2026-01-02T03:04:05Z", "state": "delivered"}
    one = {"message": "msg_j1_1", "at": "2026-01-02T03:04:06Z", "outcome": "delivered", "status": 204}
    server.answers = [(200, {}, {"url": "http://x/", "messages": [message], "tries": [one]})]
    with Client(server.url) as client:
        found = client.webhooks("j1")
        assert client.replay_webhook("j1") == found
    assert (found.messages[0].state, found.tries[0].status) == ("delivered", 204)
    assert [where for where, _, _ in server.requests] == [
        "GET /v1/jobs/j1/webhooks",
        "POST /v1/jobs/j1/webhooks/replay",
    ]
