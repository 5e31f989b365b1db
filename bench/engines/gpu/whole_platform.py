"""All of it, with many clients: HTTP, ledger, Celery, one worker."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.engines.gpu.measurement import measured, tried
from bench.engines.gpu.scale import AT_ONCE, CLIP_S, CLIPS, DEVICE, SIZES, WORK, model, recordings
from bench.speech.contestants import serving
from transcription.settings import Worker


def platform() -> None:
    """The platform with torch, every client with one job at a time."""
    size, given = SIZES[0], recordings(CLIPS, CLIP_S)
    with (
        tried("the platform", size=size, engine="torch"),
        serving(model(size), WORK / "platform", Worker(engine="torch"), device=DEVICE) as client,
    ):

        def task(path: Path) -> tuple[str, int]:
            job = client.submit(path, language="en", word_timestamps=True)
            client.wait(job.id)
            text = str(client.result(job.id, "text"))
            client.delete(job.id)
            return text, 1

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda clip: task(clip.path), given[: max(1, len(given) // 4)]))
        measured("the platform, words", task, given, AT_ONCE, size=size, engine="torch")
