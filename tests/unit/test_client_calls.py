"""What both clients ask for, and what they make of an answer, without a server."""

import asyncio
import base64
import inspect
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from murmur.client.async_client import AsyncClient
from murmur.client.client import Client
from murmur.client.errors import ApiError, JobFailed, NotFound, Unavailable
from murmur.client.events import EventParser
from murmur.client.responses import RemoteEvent, RemoteJob
from murmur.client.uploads import Upload, Watched

JOB = {"id": "j1", "status": "queued", "created_at": "2026-01-02T03:04:05Z"}
FAILED = JOB | {"status": "failed", "error": {"code": "engine_failed", "message": "boom"}}


class Platform:
    """Answers each request with the next of *answers*, the last one for ever, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response | Exception] = []
        self.asked: list[httpx.Request] = []
        self.takes_s = 0.0
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.now += self.takes_s
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Asks:
    """Has one of the clients ask; an async one's answer is waited for, a stream is read to its end."""

    def __init__(self, colour: str) -> None:
        self.colour = colour

    def __call__(self, ask: Callable[[Any], Any], url: str = "http://murmur", **options: Any) -> Any:
        if self.colour == "async":
            return asyncio.run(self._awaited(ask, url, options))
        with Client(url, **options) as client:
            found = ask(client)
            return list(found) if inspect.isgenerator(found) else found

    async def _awaited(self, ask: Callable[[Any], Any], url: str, options: dict[str, Any]) -> Any:
        async with AsyncClient(url, **options) as client:
            found = ask(client)
            return [one async for one in found] if inspect.isasyncgen(found) else await found


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    platform = Platform()
    for name in ("Client", "AsyncClient"):
        made = partial(getattr(httpx, name), transport=httpx.MockTransport(platform))
        monkeypatch.setattr(httpx, name, made)
    monkeypatch.setattr("murmur.client.retry.FIRST_PAUSE_S", 0.0)
    return platform


@pytest.fixture(params=["sync", "async"])
def asks(request: pytest.FixtureRequest) -> Asks:
    return Asks(request.param)


def refused(asks: Asks, platform: Platform, *answer: httpx.Response) -> ApiError:
    platform.answers = list(answer)
    with pytest.raises(ApiError) as caught:
        asks(lambda client: client.job("j1"), patience_s=0)
    return caught.value


@pytest.fixture
def clock(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The platform, by whose clock patience is counted: it goes on by what each answer takes."""
    monkeypatch.setattr("murmur.client.retry.time", SimpleNamespace(monotonic=lambda: platform.now))
    return platform


def stream(*events: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, text="".join(f"{event}\n\n" for event in events))


def test_refusals_are_understood_whoever_writes_them(asks: Asks, platform: Platform) -> None:
    expired = refused(asks, platform, httpx.Response(410, json={"code": "job_expired", "job_id": "j1"}))
    assert isinstance(expired, NotFound)
    assert expired.job_id is None
    page = refused(asks, platform, httpx.Response(502, html="<h1>Bad Gateway</h1>"))
    assert isinstance(page, Unavailable)
    assert (page.code, page.retry_after) == ("http_502", None)
    pause = {"5": 5.0, "0.5": 0.5, "Fri, 27 Nov 2026 07:00:00 GMT": None}
    answers = {said: httpx.Response(503, headers={"retry-after": said}) for said in pause}
    assert {said: refused(asks, platform, answer).retry_after for said, answer in answers.items()} == pause


def test_health_that_is_bad_is_an_answer_and_is_asked_once(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(503, json={"ledger": False})]
    assert asks(lambda client: client.health()) == {"ledger": False}
    platform.answers = [httpx.Response(502), httpx.Response(200, json={})]
    with pytest.raises(Unavailable):
        asks(lambda client: client.health())
    assert len(platform.asked) == 2


def test_a_call_says_who_asks_and_what_for(asks: Asks, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_API_KEY", "secret")
    platform.answers = [httpx.Response(200, json=JOB)]
    asks(lambda client: client.job("j1", wait=30), url="http://murmur/base/", timeout_s=60)
    asks(lambda client: client.result("j1", "text", partial=True))
    held, half = platform.asked
    assert str(held.url) == "http://murmur/base/v1/jobs/j1?wait=30"
    assert held.extensions["timeout"]["read"] == 90
    assert held.headers["authorization"] == "Bearer secret"
    assert dict(half.url.params) == {"format": "text", "partial": "true"}


@pytest.mark.parametrize(
    ("ask", "asked", "sent"),
    [
        (lambda client: client.cancel("j1"), "POST /v1/jobs/j1/cancel", None),
        (lambda client: client.delete("j1"), "DELETE /v1/jobs/j1", None),
        (lambda client: client.name_speakers("j1", {"A": "Anna"}), "PATCH /v1/jobs/j1/speakers", {"A": "Anna"}),
        (lambda client: client.webhooks("j1"), "GET /v1/jobs/j1/webhooks", None),
        (lambda client: client.replay_webhook("j1"), "POST /v1/jobs/j1/webhooks/replay", None),
        (lambda client: client.stats(), "GET /stats", None),
        (lambda client: client.workers(), "GET /health/async", None),
        (lambda client: client.models(), "GET /v1/models", None),
        (lambda client: client.dead_letters(), "GET /admin/dead", None),
        (lambda client: client.dead_letter("c1"), "GET /admin/dead/c1", None),
        (lambda client: client.retry_dead_letter("c1"), "POST /admin/dead/c1/retry", None),
        (lambda client: client.drop_dead_letter("c1"), "DELETE /admin/dead/c1", None),
        (
            lambda client: client.jobs(status="failed", limit=2, cursor="next"),
            "GET /v1/jobs?status=failed&limit=2&cursor=next",
            None,
        ),
    ],
)
def test_each_call_asks_for_what_its_name_says(
    asks: Asks, platform: Platform, ask: Callable[[Any], Any], asked: str, sent: Any
) -> None:
    dead = {"computation": "c1", "error": {"code": "engine_failed", "message": "boom"}, "died_at": JOB["created_at"]}
    every = {"jobs": [], "workers": [], "data": [], "dead_letters": [], "messages": [], "pending": False}
    platform.answers = [httpx.Response(200, json=every | dead | JOB)]
    asks(ask, url="http://murmur")
    (request,) = platform.asked
    assert f"{request.method} {str(request.url).removeprefix('http://murmur')}" == asked
    assert (json.loads(request.content) if request.content else None) == sent


def test_a_recording_is_sent_under_the_name_and_key_that_it_was_given_and_is_told_of(
    asks: Asks, platform: Platform
) -> None:
    platform.answers = [httpx.Response(202, json=JOB)]
    told: list[tuple[int, int | None]] = []
    how = {"filename": "call.wav", "idempotency_key": "mine", "progress": lambda *counts: told.append(counts)}
    asks(lambda client: client.submit(b"sound", **how))
    assert platform.asked[0].headers["idempotency-key"] == "mine"
    assert b'filename="call.wav"' in platform.asked[0].content
    assert told[-1] == (5, 5)


def test_a_submit_is_looked_up_no_longer_than_the_patience(asks: Asks, platform: Platform) -> None:
    unknown = httpx.Response(503, headers={"retry-after": "0"}, json={"code": "outcome_unknown", "job_id": "j1"})
    platform.answers = [unknown, httpx.Response(503, headers={"retry-after": "60"}), httpx.Response(200, json=JOB)]
    with pytest.raises(Unavailable):
        asks(lambda client: client.submit(b"sound"), patience_s=30)


def test_an_upload_that_lasted_longer_than_the_patience_is_tried_again_when_it_breaks(
    asks: Asks, clock: Platform
) -> None:
    clock.takes_s = 70
    clock.answers = [httpx.WriteError("broken"), httpx.Response(503), httpx.Response(202, json=JOB)]
    assert asks(lambda client: client.submit(b"sound"), patience_s=60).id == "j1"


def test_a_stream_that_was_quiet_for_longer_than_the_patience_is_taken_up_again(asks: Asks, clock: Platform) -> None:
    clock.takes_s = 300
    clock.answers = [httpx.ReadError("broken"), stream(": still here"), stream(status=204)]
    assert asks(lambda client: client.events("j1"), patience_s=60) == []
    assert len(clock.asked) == 3


def test_a_platform_that_is_silent_again_and_again_is_asked_no_longer_than_the_patience(
    asks: Asks, clock: Platform
) -> None:
    clock.takes_s = 60
    clock.answers = [*[httpx.ReadTimeout("silent")] * 5, httpx.Response(200, json=JOB)]
    with pytest.raises(ApiError, match="silent"):
        asks(lambda client: client.job("j1"), patience_s=60)
    assert len(clock.asked) == 2


def test_a_platform_that_refuses_at_once_is_asked_no_longer_than_the_patience(asks: Asks, clock: Platform) -> None:
    clock.takes_s = 10
    clock.answers = [*[httpx.Response(503, headers={"retry-after": "0"})] * 10, httpx.Response(200, json=JOB)]
    with pytest.raises(Unavailable):
        asks(lambda client: client.job("j1"), patience_s=60)
    assert len(clock.asked) == 7


def test_a_transcription_is_waited_for_no_longer_than_was_asked(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(202, json=JOB), httpx.Response(200, json=JOB), httpx.Response(400)]
    with pytest.raises(TimeoutError, match="still queued"):
        asks(lambda client: client.transcribe(b"sound", seconds=0))


@pytest.mark.parametrize(
    ("health", "ready"),
    [
        ({"ledger": True, "workers": 1}, True),
        ({"ledger": True, "workers": 0}, False),
        ({"ledger": False, "workers": 1}, False),
        (None, False),
    ],
)
def test_a_platform_is_ready_with_its_ledger_and_a_worker(
    asks: Asks, platform: Platform, health: dict[str, Any] | None, *, ready: bool
) -> None:
    platform.answers = [httpx.Response(200, json=health) if health else httpx.Response(502)]
    assert asks(lambda client: client.ready()) is ready


def test_a_client_that_was_closed_holds_no_connection(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(200, json=JOB)]
    used: list[Any] = []
    asks(lambda client: used.append(client) or client.job("j1"))  # type: ignore[func-returns-value]
    assert used[0]._http.is_closed


def test_nobody_there_is_an_error_that_names_the_address(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.ConnectError("refused")]
    with pytest.raises(ApiError, match="http://murmur") as error:
        asks(lambda client: client.job("j1"), patience_s=0)
    assert error.value.code == "unreachable"


@pytest.mark.parametrize("url", ["http://[::1", "::1:8000", "http://murmur:x", "127.0.0.1:8000", "localhost:8000"])
def test_what_is_no_address_is_said_at_once(
    asks: Asks, platform: Platform, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MURMUR_URL", url)
    platform.answers = [httpx.Response(200, json=JOB)]
    with pytest.raises(ApiError, match=r"is no platform's address; one looks like http://127\.0\.0\.1:8000") as error:
        asks(lambda client: client.job("j1"), url="")
    assert repr(url) in error.value.message


@pytest.mark.parametrize("body", [b"<h1>Please log in</h1>", b"\xff\xfe", b'{"hello": "world"}', b"[]"])
@pytest.mark.parametrize("ask", [lambda client: client.job("j1"), lambda client: client.workers()], ids=["job", "list"])
def test_a_success_that_is_no_platform_s_is_one_sentence_and_not_tried_again(
    asks: Asks, platform: Platform, ask: Callable[[Any], Any], body: bytes
) -> None:
    platform.answers = [httpx.Response(200, content=body, headers={"content-type": "text/html"})]
    with pytest.raises(ApiError) as error:
        asks(ask)
    assert "the answer from http://murmur isn't a platform's (text/html): " in error.value.message
    assert "\n" not in error.value.message
    assert (error.value.code, error.value.status, len(platform.asked)) == ("unexpected_answer", 200, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_hold_whatever_json_may_in_whatever_pieces_they_come(end: str) -> None:
    text = "a\u2028b\u2029c\x85d"
    whole = "".join(
        f"event: segment{end}id: {number}{end}data: {json.dumps({'text': text}, ensure_ascii=False)}{end}{end}"
        for number in range(2)
    )
    for size in range(1, len(whole)):
        parser = EventParser()
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        events = [event for piece in [*pieces, ":"] for event in parser.feed(piece)]
        assert [(event.id, event.data["text"]) for event in events] == [("0", text), ("1", text)]


def test_a_stream_s_events_end_at_no_line_separator_of_the_text(asks: Asks, platform: Platform) -> None:
    done = 'event: done\nid: 1.1\ndata: {"status": "a\u2028b\x85c"}'
    platform.answers = [stream(done)]
    assert [event.data["status"] for event in asks(lambda client: client.events("j1"))] == ["a\u2028b\x85c"]


def test_every_try_of_a_submit_has_one_key(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(503), httpx.Response(202, json=JOB)]
    asks(lambda client: client.submit(b"sound"))
    keys = [request.headers["idempotency-key"] for request in platform.asked]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert keys[0]


def test_name_that_is_no_utf8_is_sent_as_far_as_it_can_be(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(202, json=JOB)]
    asks(lambda client: client.submit(b"sound", filename=os.fsdecode(b"caf\xe9 \xc3\xa9.mp3")))
    assert 'filename="caf\ufffd \u00e9.mp3"'.encode() in platform.asked[0].content


def test_a_wait_asks_for_no_longer_than_is_left(asks: Asks, platform: Platform) -> None:
    platform.answers = [httpx.Response(200, json=JOB | {"status": "completed"})]
    asks(lambda client: client.wait("j1", seconds=3))
    assert float(platform.asked[0].url.params["wait"]) <= 3


def test_events_are_followed_past_comments_and_breaks_to_where_nothing_is_left(asks: Asks, platform: Platform) -> None:
    first = 'event: progress\nid: 1.0\ndata: {"fraction": 0.5}'
    platform.answers = [stream(": working", first), stream(status=204)]
    told: list[RemoteEvent] = asks(lambda client: client.events("j1"))
    assert [(event.id, event.type) for event in told] == [("1.0", "progress")]
    assert [request.headers.get("last-event-id") for request in platform.asked] == [None, "1.0"]


def test_an_event_is_heard_once_though_a_heartbeat_follows_it(asks: Asks, platform: Platform) -> None:
    first, second = (f'event: progress\nid: {number}.0\ndata: {{"fraction": 0.{number}}}' for number in (1, 2))
    platform.answers = [stream(first, ": still here", second, ": still here"), stream(status=204)]
    told: list[RemoteEvent] = asks(lambda client: client.events("j1"))
    assert [event.id for event in told] == ["1.0", "2.0"]


def test_a_refusal_of_events_that_comes_in_pieces_says_why(asks: Asks, platform: Platform) -> None:
    pieces = [b'{"code": "job_not_found", ', b'"detail": "no job"}']

    async def awaited() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    platform.answers = [httpx.Response(404, content=awaited() if asks.colour == "async" else iter(pieces))]
    with pytest.raises(NotFound, match="no job") as refused:
        asks(lambda client: client.events("j1"), patience_s=0)
    assert refused.value.code == "job_not_found"


def test_a_stream_of_a_job_that_fails_raises_why_also_by_the_name_of_the_first_version(
    asks: Asks, platform: Platform
) -> None:
    segment = f"event: segment\nid: 1.0\ndata: {json.dumps({'start': 0, 'end': 1, 'text': ' a'})}"
    failure = 'event: error\nid: 1.1\ndata: {"code": "engine_failed", "message": "boom", "retryable": false}'
    platform.answers = [httpx.Response(202, json=JOB), stream(segment, failure), httpx.Response(200, json=FAILED)]
    with pytest.raises(JobFailed, match="boom"):
        asks(lambda client: client.stream(b"sound"))


def test_a_stream_ends_with_the_job_and_a_job_that_is_there_is_not_handed_in_again(
    asks: Asks, platform: Platform
) -> None:
    segment = f"event: segment\nid: 1.0\ndata: {json.dumps({'start': 0, 'end': 1, 'text': ' a'})}"
    done = 'event: done\nid: 1.1\ndata: {"status": "completed"}'
    platform.answers = [stream(segment, done), httpx.Response(400)]
    assert [one.text for one in asks(lambda client: client.stream(RemoteJob.model_validate(JOB)))] == [" a"]
    assert [request.url.path for request in platform.asked] == ["/v1/jobs/j1/events"]


def test_a_recording_that_comes_slowly_holds_up_nobody_else_on_the_loop(platform: Platform) -> None:
    platform.answers = [httpx.Response(202, json=JOB)]
    others, went_on = threading.Event(), list[bool]()

    def read(_: int = -1) -> bytes:
        went_on.append(others.wait(5))
        return b""

    def ask(client: AsyncClient) -> Any:
        asyncio.get_running_loop().call_soon(others.set)
        return client.submit(cast("Any", SimpleNamespace(read=read, name="<stdin>")))

    assert Asks("async")(ask).id == "j1"
    assert went_on == [True]


def test_a_sample_that_is_a_data_url_is_sent_as_it_is_and_progress_begins_anew_with_a_try(tmp_path: Any) -> None:
    known = {"Anna": "data:audio/wav;base64,AAAA", "Bob": b"\0\0\0"}
    with Upload(audio="https://a/b", options={"known_speakers": known, "prompt": None}).request() as sent:
        assert sent["json"] == {
            "url": "https://a/b",
            "known_speakers": {"Anna": known["Anna"], "Bob": "data:application/octet-stream;base64,AAAA"},
        }
    told: list[tuple[int, int | None]] = []
    (tmp_path / "a.wav").write_bytes(b"sound")
    with (tmp_path / "a.wav").open("rb") as file:
        watched = Watched(file, lambda *counts: told.append(counts))
        for _ in range(2):
            watched.seek(0)
            watched.read()
    assert told == [(5, 5), (5, 5)]


@pytest.mark.parametrize("way", ["open pipe", "path of a pipe", "stream that only reads"])
def test_what_can_be_read_only_once_is_sent_whole_with_each_try(
    asks: Asks, platform: Platform, tmp_path: Any, way: str
) -> None:
    """A pipe has no length and no beginning to go back to; `ffmpeg … | script.py`, and `<(ffmpeg …)`, are pipes."""
    platform.answers = [httpx.Response(503), httpx.Response(202, json=JOB)]
    sound = b"sound " * 9000
    ends = [os.pipe(), os.pipe()]
    with ExitStack() as opened:
        for reading, writing in ends:
            opened.callback(os.close, reading)
            os.write(writing, sound)
            os.close(writing)
        audio, sample = (given(reading, way, opened) for reading, _ in ends)
        asks(lambda client: client.submit(audio, known_speakers={"Anna": sample, "Bob": "data:audio/wav;base64,AAAA"}))
    assert len(platform.asked) == 2
    for request in platform.asked:
        assert request.content.count(b"sound ") == 9000
        assert base64.b64encode(sound) in request.content
        assert int(request.headers["content-length"]) == len(request.content)
        assert f'filename="{"audio" if "path" not in way else ends[0][0]}"'.encode() in request.content


def given(descriptor: int, way: str, opened: ExitStack) -> Any:
    """The end of a pipe as a caller may have it."""
    if way == "path of a pipe":
        return f"/dev/fd/{descriptor}"
    file = opened.enter_context(os.fdopen(descriptor, "rb", closefd=False))
    return file if way == "open pipe" else SimpleNamespace(read=file.read, name="<stdin>")
