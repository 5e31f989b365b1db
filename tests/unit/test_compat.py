"""Production Scale's example client, without a server: what it rides out, and what it tells."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from murmur.compat import TranscriptionFailed, WhisperClient

JOB = {"id": "j1", "status": "queued", "created_at": "2026-01-02T03:04:05Z"}
DONE = {"job_id": "j1", "status": "completed", "text": "Hello."}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has a platform give these answers one after the other; what it was asked."""
    monkeypatch.setattr("murmur.client.retry.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("murmur.compat.POLL_S", (0.0, 0.0))

    def answer(*answers: httpx.Response | Exception) -> list[str]:
        left, asked = list(answers), []

        def platform(request: httpx.Request) -> httpx.Response:
            asked.append(f"{request.method} {request.url.path}")
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(platform)))
        return asked

    return answer


def problem(status: int, detail: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": "x", "detail": detail}, headers=headers)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    return path


def test_a_hiccup_of_the_platform_loses_no_transcript(answering: Callable[..., list[str]], recording: Path) -> None:
    away = [problem(503, "away"), problem(502, "<html>"), problem(429, "slowly"), httpx.ConnectError("refused")]
    asked = answering(
        problem(503, "away", **{"Retry-After": "0"}),
        httpx.Response(202, json=JOB),
        *away,
        httpx.Response(200, json={"job_id": "j1", "status": "processing"}),
        httpx.Response(200, json=DONE),
        *away,
        httpx.Response(200, json=DONE),
    )
    with WhisperClient() as client:
        assert client.transcribe_file(recording, language="en")["text"] == "Hello."
    assert asked == ["POST /v1/jobs"] * 2 + ["GET /status/j1"] * 6 + ["GET /result/j1"] * 5


def test_a_queue_that_is_full_for_longer_is_waited_for_as_long_as_the_client_waits_at_all(
    answering: Callable[..., list[str]], recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("murmur.compat.BUSY_PAUSE_S", 0.0)
    full = [problem(503, "the queue is full")] * 3
    monkeypatch.setattr("murmur.compat.PATIENCE_S", 0.0)
    asked = answering(*full, httpx.Response(202, json=JOB))
    with WhisperClient() as client:
        assert client.submit(recording) == "j1"
    assert len(asked) == 4
    answering(*full)
    with WhisperClient(timeout=-1.0) as client, pytest.raises(TranscriptionFailed, match="the queue is full"):
        client.submit(recording)


@pytest.mark.parametrize("ask", ["get_status", "get_result", "wait"])
def test_what_is_refused_is_told_at_once_in_the_platform_s_words(answering: Callable[..., list[str]], ask: str) -> None:
    asked = answering(problem(404, "no job 'j1'"))
    with WhisperClient() as client, pytest.raises(TranscriptionFailed, match="no job 'j1'"):
        getattr(client, ask)("j1")
    assert len(asked) == 1


def test_an_answer_of_something_else_is_no_status(answering: Callable[..., list[str]]) -> None:
    answering(httpx.Response(200, text="<html>log in</html>"))
    with WhisperClient() as client, pytest.raises(TranscriptionFailed, match="isn't a platform's"):
        client.get_status("j1")
