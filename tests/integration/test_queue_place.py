"""What a waiting job is told of its place: that many really go first, and no time is named that nobody knows."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.live_api import live_api
from transcription.ledger.jobs import job_reader
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(job_reader, "RATE_AGE_S", 0.0)
    with live_api(settings) as client:
        yield client


def submit(api: httpx.Client, seconds: float, **options: str) -> str:
    answer = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(seconds))}, data=options)
    assert answer.status_code == 202
    job_id: str = answer.json()["id"]
    return job_id


def place(api: httpx.Client, job_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = api.get(f"/v1/jobs/{job_id}").json().get("queue")
    if found is not None:
        del found["waits_for"]  # see test_capabilities.py
    return found


def test_position_falls_with_every_job_that_goes_first_and_goes_away_with_the_wait(
    api: httpx.Client, spans: RedisSpans
) -> None:
    worker = LedgerWorker(spans)
    queue = [submit(api, seconds) for seconds in (1, 2, 3, 4, 5)]
    positions = []
    while (last := place(api, queue[-1])) is not None:
        assert [(place(api, job_id) or {}).get("position") for job_id in queue] == list(range(1, len(queue) + 1))
        positions.append(last["position"])
        taken = worker.claim()
        assert place(api, queue.pop(0)) is None
        worker.prepare(taken)
        worker.finish(taken)
        if not queue:
            break
    assert positions == [5, 4, 3, 2, 1]


def test_audio_ahead_is_what_waits_before_and_what_is_left_of_what_runs(api: httpx.Client, spans: RedisSpans) -> None:
    worker = LedgerWorker(spans, rate=2.0)
    waiting = [submit(api, seconds) for seconds in (10, 3, 4)]
    assert place(api, waiting[2]) == {"position": 3, "audio_seconds_ahead": 13.0, "eta_s": 6.5}
    running = worker.claim()
    worker.prepare(running)
    assert place(api, waiting[2]) == {"position": 2, "audio_seconds_ahead": 13.0, "eta_s": 6.5}
    worker.write(running, 0, " half", audio_s=5.0)
    assert place(api, waiting[2]) == {"position": 2, "audio_seconds_ahead": 8.0, "eta_s": 4.0}
    assert place(api, waiting[1]) == {"position": 1, "audio_seconds_ahead": 5.0, "eta_s": 2.5}
    worker.finish(running)
    assert place(api, waiting[1]) == {"position": 1, "audio_seconds_ahead": 0.0, "eta_s": 0.0}


def test_batch_waits_behind_every_interactive_job(api: httpx.Client, spans: RedisSpans) -> None:
    batch = submit(api, 1, priority="batch")
    assert (place(api, batch) or {})["position"] == 1
    submit(api, 2)
    assert place(api, batch) == {"position": 2, "audio_seconds_ahead": 2.0, "eta_s": None}


@pytest.mark.parametrize("rate", [None, 2.0])
def test_no_time_is_named_before_a_worker_was_measured_or_after_it_is_gone(
    api: httpx.Client, spans: RedisSpans, rate: float | None
) -> None:
    worker = LedgerWorker(spans, rate=rate)
    job_id = submit(api, 1)
    assert (place(api, job_id) or {})["eta_s"] == (None if rate is None else 0.0)
    spans.depart(worker.info)
    assert place(api, job_id) == {"position": 1, "audio_seconds_ahead": 0.0, "eta_s": None}


def test_no_time_is_named_behind_a_recording_of_unknown_length(
    api: httpx.Client, spans: RedisSpans, redis_server: Redis
) -> None:
    LedgerWorker(spans)
    first, second = submit(api, 1), submit(api, 2)
    redis_server.hset(f"murmur:span:{redis_server.hget(f'murmur:job:{first}', 'comp')}:0", "end", 0)
    assert place(api, second) == {"position": 2, "audio_seconds_ahead": None, "eta_s": None}
