"""Mixed flocks: who may claim what."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.platform import eventually
from transcription.infra.connections import connect, connect_async
from transcription.infra.jobs import RedisJobs
from transcription.infra.spans import RedisSpans
from transcription.job import Audio, Submission
from transcription.lanes import traits
from transcription.options import Options
from transcription.settings import Settings

CUDA = traits(engine="faster_whisper", device="cuda", languages=())
MAC = traits(engine="mlx_whisper", device="metal", languages=())
GERMAN = traits(engine="faster_whisper", device="cpu", languages=("de",))


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings.model_validate(
        {
            "ledger": {"url": redis_url},
            "lease": {"ttl_s": 0.2, "reap_s": 0.01},
            "needs": {"large-v3": {"device": "cuda"}, "demo-mlx": {"engine": "mlx_whisper", "device": "metal"}},
        }
    )


@pytest.fixture
def spans(settings: Settings) -> Iterator[RedisSpans]:
    client = connect(settings.ledger)
    yield RedisSpans(client, settings)
    client.close()


def submit(settings: Settings, model: str, **options: Any) -> str:
    """Hand a recording in; its SHA-256."""
    sha256 = uuid.uuid4().hex * 2

    async def run() -> None:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        try:
            await jobs.submit(
                Submission(
                    job_id=uuid.uuid4().hex,
                    tenant="default",
                    audio=Audio(sha256=sha256, bytes=1000, duration_s=10.0, filename="talk.wav"),
                    model=model,
                    revision="r1",
                    options=Options(**options),
                )
            )
        finally:
            await jobs.close()

    asyncio.run(run())
    return sha256


def taken(spans: RedisSpans, has: tuple[str, ...], *models: str, worker: str = "w") -> str | None:
    claim = spans.claim(worker, models=models or ("demo", "large-v3", "demo-mlx"), extras=True, traits=has)
    return None if claim is None else claim.audio_sha256


def test_job_that_only_cuda_can_do_waits_for_it_while_a_mac_goes_on(settings: Settings, spans: RedisSpans) -> None:
    heavy, light = submit(settings, "large-v3"), submit(settings, "demo")
    assert taken(spans, MAC, worker="mac") == light
    assert taken(spans, MAC, worker="mac") is None
    assert taken(spans, CUDA, "demo") is None
    assert taken(spans, CUDA) == heavy


def test_every_need_of_a_model_must_be_met(settings: Settings, spans: RedisSpans) -> None:
    job = submit(settings, "demo-mlx")
    assert taken(spans, CUDA) is None
    assert taken(spans, traits(engine="mlx_whisper", device="cpu", languages=())) is None
    assert taken(spans, MAC) == job


def test_worker_for_some_languages_takes_only_what_is_known_to_be_in_them(
    settings: Settings, spans: RedisSpans
) -> None:
    unknown, french = submit(settings, "demo"), submit(settings, "demo", language="fr")
    german = submit(settings, "demo", language="de")
    assert taken(spans, GERMAN) == german
    assert taken(spans, GERMAN) is None
    assert {taken(spans, CUDA), taken(spans, CUDA)} == {unknown, french}


def test_span_that_comes_back_goes_only_to_one_that_suits(settings: Settings, spans: RedisSpans) -> None:
    job = submit(settings, "large-v3")
    held = spans.claim("w", models=("large-v3",), extras=True, traits=CUDA)
    assert held is not None
    spans.release(held)
    assert taken(spans, MAC) is None
    assert taken(spans, CUDA) == job


def test_suspect_is_run_only_by_one_that_suits(settings: Settings, spans: RedisSpans) -> None:
    job = submit(settings, "large-v3")
    assert taken(spans, CUDA, worker="lost") == job
    eventually(spans.reap, within_s=5)
    assert taken(spans, MAC, worker="mac") is None
    alone = spans.claim("heir", models=("large-v3",), extras=True, traits=CUDA)
    assert alone is not None
    assert alone.alone
