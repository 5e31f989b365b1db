"""Mixed flocks: who may claim what."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from tests.platform import eventually
from transcription.job import Audio, QueuePosition, Submission
from transcription.lanes import traits
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import Lane, WorkerInfo
from transcription.settings import Settings

T = TypeVar("T")

CUDA = traits(engine="faster_whisper", device="cuda", languages=())
MAC = traits(engine="mlx_whisper", device="metal", languages=())
GERMAN = traits(engine="faster_whisper", device="cpu", languages=("de",))


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings.model_validate(
        {
            "ledger": {"url": redis_url},
            "lease": {"ttl_s": 0.2},
            "needs": {"large-v3": {"device": "cuda"}, "demo-mlx": {"engine": "mlx_whisper", "device": "metal"}},
        }
    )


def asked(settings: Settings, ask: Callable[[RedisJobs], Coroutine[Any, Any, T]]) -> T:
    """What the API's side of the ledger answers."""

    async def run() -> T:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        try:
            return await ask(jobs)
        finally:
            await jobs.close()

    return asyncio.run(run())


def submit(settings: Settings, model: str, **options: Any) -> str:
    """Hand a recording in; its SHA-256."""
    sha256 = uuid.uuid4().hex * 2

    submission = Submission(
        job_id=sha256[:32],
        tenant="default",
        audio=Audio(sha256=sha256, bytes=1000, duration_s=10.0, filename="talk.wav"),
        model=model,
        revision="r1",
        options=Options(**options),
    )
    asked(settings, lambda jobs: jobs.submit(submission))
    return sha256


def place_of(settings: Settings, sha256: str) -> QueuePosition:
    """What the job of a recording is told of its place."""
    place = asked(settings, lambda jobs: jobs.get(sha256[:32], tenant="default")).queue
    assert place is not None
    return place


def live(spans: RedisSpans, name: str, has: tuple[str, ...], *models: str, rate: float | None = None) -> None:
    """Have a worker send a heartbeat."""
    info = WorkerInfo(
        id=name, models=models, engine="e", device="d", compute_type="c", slots=1, host="h", pid=1, started_at=0.0,
        rate=rate, traits=has,
    )  # fmt: skip
    spans.register(info)


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


def test_recording_that_no_living_worker_suits_is_told_and_counted(settings: Settings, spans: RedisSpans) -> None:
    live(spans, "mac", MAC, "demo", "large-v3", rate=5.0)
    light, heavy = submit(settings, "demo"), submit(settings, "large-v3", language="de")
    lanes = asked(settings, RedisJobs.backlog).lanes
    assert lanes["demo"] == Lane(workers=1, rate=5.0, unserved=0, pending=1)
    assert lanes["large-v3\nlanguage=de\ndevice=cuda"] == Lane(workers=0, rate=0.0, unserved=1, pending=1)
    assert place_of(settings, light).waits_for is None
    waiting = place_of(settings, heavy)
    assert (waiting.waits_for, waiting.eta_s) == ("large-v3, language=de, device=cuda", None)
    live(spans, "cuda", CUDA, "demo", "large-v3", rate=20.0)
    waiting = place_of(settings, heavy)
    assert (waiting.waits_for, waiting.eta_s) == (None, 0.5)
    assert asked(settings, RedisJobs.backlog).lanes["demo"] == Lane(workers=2, rate=25.0, unserved=0, pending=1)


def test_suspect_that_no_living_worker_suits_is_counted(settings: Settings, spans: RedisSpans) -> None:
    submit(settings, "large-v3")
    taken(spans, CUDA, worker="lost")
    eventually(spans.reap, within_s=30)
    live(spans, "mac", MAC, "demo", "large-v3")
    assert asked(settings, RedisJobs.backlog).lanes["large-v3\ndevice=cuda"].unserved == 1


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
    eventually(spans.reap, within_s=30)
    assert taken(spans, MAC, worker="mac") is None
    alone = spans.claim("heir", models=("large-v3",), extras=True, traits=CUDA)
    assert alone is not None
    assert alone.suspect
