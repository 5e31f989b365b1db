"""What a submit brought that is refused, in whole or at the last step, doesn't stay in the store."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests import audio_files
from tests.ledger_client import LedgerClient
from tests.live_api import api_settings, live_api
from tests.memory_jobs import MemoryQueue
from tests.secured_api import bearer, settings_for
from transcription.errors import OutcomeUnknown, QuotaExceeded
from transcription.housekeeping.maintenance import Maintenance
from transcription.ledger.connections.clients import connect
from transcription.ledger.jobs import job_store
from transcription.ledger.span_store import RedisSpans
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.storage.disk import DiskBlobs

TALK, ANNA, BOB = (audio_files.wav(3.0, hertz=hertz) for hertz in (220, 330, 440))
TIERS = {"full": {"stored_jobs": 1}, "short": {"audio_s_per_day": 4}, "one": {"concurrent_jobs": 1}}


def blobs(root: Path) -> list[Path]:
    return [path for path in (root / "blobs").rglob("*") if path.is_file()]


def data_url(content: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(content).decode()}"


def register_a_diarizer(settings: Settings) -> None:
    with connect(settings.ledger) as client:
        RedisSpans(client, settings).register(
            WorkerInfo(
                id="w1", models=("demo",), engine="none", device="cpu", compute_type="int8", slots=1, host="here",
                pid=1, started_at=1.0, diarizer="voices@1",
            )
        )  # fmt: skip


def sweep(settings: Settings, redis: Redis) -> None:
    """What the sweeper does after a few minutes."""
    for name in redis.zrange("murmur:unneeded", 0, -1):
        redis.zadd("murmur:unneeded", {name: 1})
    for path in blobs(settings.data_dir):
        os.utime(path, (1, 1))
    with connect(settings.ledger) as client:
        spans = RedisSpans(client, settings)
        assert spans.lock("repair", seconds=600)  # the daily scan isn't meant here
        Maintenance(spans, MemoryQueue(), DiskBlobs(settings.blob_dir), settings).sweep()


def as_form(http: httpx.Client, talk: bytes, samples: dict[str, bytes], headers: dict[str, str]) -> httpx.Response:
    known = [(f"known_speakers[{name}]", ("x.wav", sample)) for name, sample in samples.items()]
    return http.post("/v1/jobs", files=[("file", ("a.wav", talk)), *known], data={"diarize": "true"}, headers=headers)


def as_json(http: httpx.Client, talk: bytes, samples: dict[str, bytes], headers: dict[str, str]) -> httpx.Response:
    known = {name: data_url(sample) for name, sample in samples.items()}
    body = {"audio": base64.b64encode(talk).decode(), "diarize": True, "known_speakers": known}
    return http.post("/v1/jobs", json=body, headers=headers)


def as_openai_does(
    http: httpx.Client, talk: bytes, samples: dict[str, bytes], headers: dict[str, str]
) -> httpx.Response:
    data = {
        "model": "gpt-4o-transcribe-diarize",
        "response_format": "diarized_json",
        "known_speaker_names[]": list(samples),
        "known_speaker_references[]": [data_url(sample) for sample in samples.values()],
    }
    return http.post("/v1/audio/transcriptions", files={"file": ("a.wav", talk)}, data=data, headers=headers)


@pytest.mark.parametrize("way", [as_form, as_json, as_openai_does])
def test_no_sample_is_kept_of_a_request_whose_recording_is_no_audio(
    redis_url: str, tmp_path: Path, way: Callable[..., httpx.Response]
) -> None:
    settings = api_settings(redis_url, tmp_path)
    register_a_diarizer(settings)
    with live_api(settings) as http:
        answer = way(http, b"Is this a voice? " * 99, {"Anna": ANNA, "Bob": BOB}, {})
        assert answer.status_code in (400, 415, 422), answer.text
        assert blobs(tmp_path) == []


@pytest.mark.parametrize("tier", ["full", "short", "one"])
def test_recording_and_samples_that_a_quota_refuses_are_gone_with_the_next_sweep(
    redis_url: str, redis_server: Redis, tmp_path: Path, tier: str
) -> None:
    key = bearer(redis_url, tier=tier)
    settings = settings_for(redis_url, tmp_path, tiers=TIERS)
    register_a_diarizer(settings)
    with live_api(settings) as http:
        assert as_form(http, TALK, {"Anna": ANNA}, key).status_code == 202
        kept = set(blobs(tmp_path))
        assert len(kept) == 2
        answer = as_form(http, audio_files.wav(3.5), {"Anna": ANNA, "Bob": BOB}, key)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
        sweep(settings, redis_server)
    assert set(blobs(tmp_path)) == kept
    assert not redis_server.keys("murmur:coming:*")


def test_what_another_payload_under_a_used_key_brought_is_gone_with_the_next_sweep(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    settings = api_settings(redis_url, tmp_path)
    register_a_diarizer(settings)
    with live_api(settings) as http:
        once = {"Idempotency-Key": "k"}
        assert as_form(http, TALK, {"Anna": ANNA}, once).status_code == 202
        kept = set(blobs(tmp_path))
        assert as_form(http, audio_files.wav(3.5), {"Anna": BOB}, once).status_code == 422
        assert as_form(http, TALK, {"Anna": ANNA}, once).status_code == 202
        sweep(settings, redis_server)
    assert set(blobs(tmp_path)) == kept
    assert not redis_server.keys("murmur:coming:*")


@pytest.mark.parametrize(
    "error",
    [
        QuotaExceeded("no more", retry_after_s=1),
        RuntimeError("a defect"),
        OutcomeUnknown("no answer", job_id="j", retry_after_s=1),
    ],
)
def test_only_where_the_job_may_have_been_recorded_its_recording_stays(
    redis_url: str, redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings = api_settings(redis_url, tmp_path)

    async def submit(*_: object) -> None:
        raise error

    monkeypatch.setattr(job_store.RedisJobs, "submit", submit)
    with live_api(settings) as http:
        assert http.post("/v1/jobs", files={"file": ("a.wav", TALK)}).status_code >= 400
        sweep(settings, redis_server)
    stays = isinstance(error, OutcomeUnknown)
    assert bool(blobs(tmp_path)) is stays
    assert bool(redis_server.keys("murmur:coming:*")) is stays


def test_a_recording_that_another_job_needs_outlives_a_refused_one(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    key, other = bearer(redis_url, "acme", tier="full"), bearer(redis_url, "umbrella")
    settings = settings_for(redis_url, tmp_path, tiers=TIERS)
    with live_api(settings) as http:
        assert http.post("/v1/jobs", files={"file": ("a.wav", ANNA)}, headers=key).status_code == 202
        assert http.post("/v1/jobs", files={"file": ("a.wav", TALK)}, headers=other).status_code == 202
        assert http.post("/v1/jobs", files={"file": ("a.wav", TALK)}, headers=key).status_code == 429
        sweep(settings, redis_server)
    assert len(blobs(tmp_path)) == 2


def test_a_refused_job_takes_no_mark_of_one_that_is_still_on_its_way(redis_url: str, tmp_path: Path) -> None:
    settings = api_settings(redis_url, tmp_path)
    client = LedgerClient(settings)
    sha = "a" * 64
    for job in ("one", "two"):
        assert client.ask(lambda jobs, job=job: jobs.expect(sha, job_id=job))
    client.ask(lambda jobs: jobs.withdraw([sha], job_id="one"))
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        assert redis.zrange(f"murmur:coming:{sha}", 0, -1) == ["two"]
