"""All of it, with many clients: HTTP, ledger, Celery, workers. Clients are processes, as on other machines."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from bench.engines.gpu.measurement import measured, tried
from bench.engines.gpu.scale import AT_ONCE, CLIP_S, CLIPS, DEVICE, SIZES, TINY, WORK, model, recordings
from bench.speech.contestants import serving
from murmur.client import Client
from transcription.settings import Worker

API_PROCESSES = 1 if TINY else 4


def platform() -> None:
    """The platform with torch, every client with one job at a time."""
    _platform("the platform", workers=1)


def two_workers() -> None:
    """The same with two workers on the card: each has Python for itself, and a model of its own."""
    _platform("the platform, two workers", workers=2)


def _platform(label: str, *, workers: int) -> None:
    size, given = SIZES[0], recordings(CLIPS, CLIP_S)
    clients = multiprocessing.get_context("forkserver")
    clients.set_forkserver_preload([__name__])
    worker = Worker(engine="torch")
    with (
        tried(label, size=size, engine="torch"),
        serving(
            model(size), WORK / "platform", worker, device=DEVICE, processes=API_PROCESSES, workers=workers
        ) as first,
        ProcessPoolExecutor(AT_ONCE, mp_context=clients) as pool,
    ):
        url = str(first.url)

        def task(path: Path) -> tuple[str, int]:
            return pool.submit(_transcribe, url, path).result(), 1

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda clip: task(clip.path), given[: 2 * AT_ONCE]))
        measured(f"{label}, words", task, given, AT_ONCE, size=size, engine="torch")


def _transcribe(url: str, path: Path) -> str:
    client = _client(url)
    job = client.submit(path, language="en", word_timestamps=True)
    client.wait(job.id)
    text = str(client.result(job.id, "text"))
    client.delete(job.id)
    return text


@cache
def _client(url: str) -> Client:
    return Client(url, timeout_s=600)
