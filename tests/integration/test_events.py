"""A job's events on a real ledger: told as they happen, and told again from any id with nothing lost or doubled."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import httpx
import pytest
from redis import Redis

from api.dialects.openai import stream as openai_stream
from demo import SAMPLES
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.platform import TestPlatform, eventually
from tests.sse import Sse, everything, following
from transcription.ledger.jobs import change_feed
from transcription.ledger.jobs import event_log as told


@pytest.fixture
def entries_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of the stream is read with one look."""
    monkeypatch.setattr(told, "ENTRIES", request.param)


def submit(api: httpx.Client) -> str:
    answer = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(2.0))})
    assert answer.status_code in (200, 202)
    job_id: str = answer.json()["id"]
    return job_id


def two_spans(worker: LedgerWorker) -> Iterator[None]:
    """Every step of a computation of two spans in work at the same time; a silent window and a silent rest in it."""
    first = worker.claim()
    yield
    worker.prepare(first, ends=(6.0, 10.0))
    second = worker.claim()
    for window, texts in enumerate(((" one", " two"), (), (" three",))):
        worker.write(first, window, *texts, audio_s=2.0 * (window + 1))
        yield
        if window == 1:
            worker.write(second, 0, " four", audio_s=2.0)
            yield
    worker.finish(first)
    yield
    worker.finish(second)
    yield


def completed(api: httpx.Client, worker: LedgerWorker) -> str:
    job_id = submit(api)
    list(two_spans(worker))
    return job_id


def cached(api: httpx.Client, worker: LedgerWorker) -> str:
    completed(api, worker)
    return submit(api)


def failed(api: httpx.Client, worker: LedgerWorker) -> str:
    job_id = submit(api)
    worker.fail()
    return job_id


def revived(api: httpx.Client, worker: LedgerWorker) -> str:
    job_id = failed(api, worker)
    (letter,) = api.get("/admin/dead").json()["dead_letters"]
    api.post(f"/admin/dead/{letter['computation']}/retry")
    worker.work()
    return job_id


def canceled_alone(api: httpx.Client, worker: LedgerWorker) -> str:
    job_id = submit(api)
    api.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def canceled_beside_another(api: httpx.Client, worker: LedgerWorker) -> str:
    job_id, _ = submit(api), submit(api)
    worker.claim()
    api.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


ENDS: list[tuple[Callable[[httpx.Client, LedgerWorker], str], str]] = [
    (completed, "done"), (cached, "done"), (failed, "failed"), (revived, "done"), (canceled_alone, "failed"),
    (canceled_beside_another, "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("history", "end"), ENDS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.usefixtures("entries_at_a_time")
@pytest.mark.parametrize("entries_at_a_time", [100, 1], indirect=True)
def test_whoever_comes_back_with_any_id_gets_exactly_the_rest(
    api: httpx.Client, worker: LedgerWorker, history: Callable[..., str], end: str
) -> None:
    job_id = history(api, worker)
    whole = everything(api, job_id)
    assert [event.type for event in whole if event.type in {"done", "failed"}] == [end]
    assert whole[-1].type == end
    assert len({event.id for event in whole}) == len(whole)
    for number, event in enumerate(whole, start=1):
        assert everything(api, job_id, event.id) == whole[number:]


def test_events_say_what_happened_in_its_order(api: httpx.Client, worker: LedgerWorker) -> None:
    whole = everything(api, completed(api, worker))
    assert [event.data["status"] for event in whole if event.type == "status"] == ["queued", "processing", "completed"]
    texts = [event.data["text"] for event in whole if event.type == "segment"]
    assert texts == [" one", " two", " four", " three"]
    fractions = [event.data["fraction"] for event in whole if event.type == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 0.8  # the rest of the second span is silent, and its end is the job's
    assert whole[-1].data == {"status": "completed", "language": "en", "duration": 10.0, "warnings": []}


def test_listener_who_drops_out_after_every_event_hears_each_once_while_it_happens(
    api: httpx.Client, worker: LedgerWorker
) -> None:
    job_id = submit(api)
    steps = two_spans(worker)

    def listen() -> list[Sse]:
        heard: list[Sse] = []
        for count in cycle((1, 2, 3)):
            with following(api, job_id, heard[-1].id if heard else None) as events:
                heard += [event for event, _ in zip(events, range(count), strict=False)]
            if heard[-1].type in {"done", "failed"}:
                return heard
        raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        listeners = [pool.submit(listen), pool.submit(everything, api, job_id)]
        for _ in steps:
            pass
        heard = [listener.result(30) for listener in listeners]
    assert heard == [everything(api, job_id)] * 2


def test_each_step_is_heard_before_the_next_look(
    api: httpx.Client, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "MAX_SILENCE_S", 60.0)
    job_id = submit(api)
    heard: list[Sse] = []

    def listen() -> None:
        with following(api, job_id) as events:
            for event in events:
                heard.append(event)  # noqa: PERF402  one at a time, as they come

    # A daemon: where an event is missing, the test fails, and doesn't wait for the stream's end.
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    eventually(lambda: len(heard) == 1, within_s=30)
    steps = two_spans(worker)
    for _ in range(7):
        before = len(heard)
        next(steps)
        eventually(lambda before=before: len(heard) > before, within_s=30)  # type: ignore[misc]
    assert next(steps, "over") == "over"
    eventually(lambda: not listener.is_alive(), within_s=30)
    assert heard[-1].type == "done"


def test_cancel_ends_the_stream_of_its_own_job_alone(api: httpx.Client, worker: LedgerWorker) -> None:
    mine, other = submit(api), submit(api)
    with ThreadPoolExecutor(2) as pool:
        listeners = [pool.submit(everything, api, job_id) for job_id in (mine, other)]
        api.post(f"/v1/jobs/{mine}/cancel")
        canceled = listeners[0].result(10)
        assert (canceled[-1].type, canceled[-1].data["code"]) == ("failed", "job_canceled")
        worker.work()
        assert listeners[1].result(10)[-1].type == "done"


def test_headers_let_no_proxy_hold_events_back(api: httpx.Client) -> None:
    with api.stream("GET", f"/v1/jobs/{submit(api)}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"


def test_quiet_stream_has_heartbeats(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.events.HEARTBEAT_S", 0.05)
    with api.stream("GET", f"/v1/jobs/{submit(api)}/events") as answer:
        lines = answer.iter_lines()
        assert sum(1 for line, _ in zip(lines, range(20), strict=False) if line.startswith(":")) >= 3


def test_last_event_id_may_stand_in_the_query_and_must_be_one(api: httpx.Client, worker: LedgerWorker) -> None:
    job_id = completed(api, worker)
    whole = everything(api, job_id)
    url = f"/v1/jobs/{job_id}/events"
    assert api.get(url, params={"last_event_id": whole[-1].id}).status_code == 204
    assert whole[-1].id in api.get(url, params={"last_event_id": whole[-2].id}).text
    for nonsense in ("x", "1-1", "99999999999999999999-0.1", "1-1.1\u0661"):
        refused = api.get(url, params={"last_event_id": nonsense})
        assert (refused.status_code, refused.json()["code"]) == (400, "malformed_request")


def test_unknown_job_has_no_events_and_an_expired_one_none_any_more(
    api: httpx.Client, worker: LedgerWorker, redis_server: Redis
) -> None:
    assert api.get("/v1/jobs/nobody/events").status_code == 404
    job_id = completed(api, worker)
    redis_server.zadd("murmur:expiry", {job_id: 1})
    worker.spans.sweep()
    gone = api.get(f"/v1/jobs/{job_id}/events")
    assert (gone.status_code, gone.json()["code"]) == (410, "job_expired")


def test_stream_of_a_job_that_is_deleted_ends(api: httpx.Client) -> None:
    job_id = submit(api)
    with following(api, job_id) as events:
        assert next(events).data == {"status": "queued"}
        api.delete(f"/v1/jobs/{job_id}")
        old, end = events
        assert (end.type, end.data["code"]) == ("failed", "job_not_found")
        assert (old.type, old.data) == ("error", end.data)


def test_many_listeners_hold_one_connection(api: httpx.Client, worker: LedgerWorker, redis_server: Redis) -> None:
    job_id = submit(api)
    with ThreadPoolExecutor(30) as pool:
        limits = httpx.Limits(max_connections=40)
        with httpx.Client(base_url=api.base_url, timeout=30, limits=limits) as crowd:
            listeners = [pool.submit(everything, crowd, job_id) for _ in range(30)]
            eventually(lambda: redis_server.pubsub_numsub("murmur:changed")[0][1] >= 1)
            assert redis_server.pubsub_numsub("murmur:changed")[0][1] <= 2
            worker.work()
            assert {listener.result(30)[-1].type for listener in listeners} == {"done"}


def test_segments_of_a_real_recording_are_its_transcript(platform: TestPlatform) -> None:
    with platform.client() as client:
        job = client.submit(SAMPLES["long"].path)
        with httpx.Client(base_url=platform.url, timeout=60) as api:
            heard = [event.data for event in everything(api, job.id) if event.type == "segment"]
        heard.sort(key=lambda segment: segment["start"])
        assert "".join(segment["text"] for segment in heard).strip() == client.result(job.id)["text"]
        assert job.urls["events"] == f"/v1/jobs/{job.id}/events"


def test_openai_s_stream_keeps_a_later_span_back_until_all_before_it_is_written(
    api: httpx.Client, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_stream, "HEARTBEAT_S", 0.0)
    submit(api)
    first = worker.claim()
    worker.prepare(first, ends=(6.0, 10.0))
    second = worker.claim()
    worker.write(second, 0, " three", audio_s=2.0)
    worker.finish(second)
    request = {"files": {"file": ("talk.wav", audio_files.wav(2.0))}, "data": {"stream": "true"}}
    with api.stream("POST", "/v1/audio/transcriptions", **request) as answer:
        lines = answer.iter_lines()
        # It has looked at what is written, and told nothing of it.
        assert next(lines) == ": working"
        worker.write(first, 0, " one", " two", audio_s=6.0)
        deltas = (line for line in lines if '"transcript.text.delta"' in line)
        assert ["one" in next(deltas), "two" in next(deltas)] == [True, True]
        worker.finish(first)
        rest = list(lines)
    assert ["three" in line for line in rest if '"transcript.text.delta"' in line] == [True]
    assert '"one two three"' in rest[-2]
