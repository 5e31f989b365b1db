"""
What is measured, each in a process of its own: `python -m bench.speech.contestants NAME MODEL_DIR DATA_DIR`.

It loads, says `ready`, and then answers each line on standard input, `{"paths": […], "at_once": N, "language": …}`,
with one on standard output: `{"wall_s", "cpu_s", "busy_s", "texts", "each_s"}`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
from faster_whisper import BatchedInferencePipeline, WhisperModel

from bench.speech import peers
from murmur.client.client import Client
from murmur.platform.ledger_server import free_port
from murmur.platform.local import LocalPlatform, PlatformConfig
from transcription.media.codecs.decode import decode
from transcription.observability.cores import available
from transcription.options import Options
from transcription.settings import Api, Limits, Settings, Worker
from transcription.spans import windows
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.cpu_layout import instruction_set
from worker.engines.faster_whisper import FORCED_INSTRUCTIONS
from worker.metrics import counters
from worker.model_cache import ModelCache

Transcribe = Callable[[Path, str | None], str]


@contextmanager
def sequential(model: Path, _: Path) -> Iterator[Transcribe]:
    """faster-whisper as its README has it: one model, one file after the other."""
    whisper = WhisperModel(str(model), device="cpu", compute_type="int8")

    def transcribe(path: Path, language: str | None) -> str:
        segments, _ = whisper.transcribe(
            str(path), language=language, vad_filter=True, condition_on_previous_text=False
        )
        return "".join(segment.text for segment in segments)

    yield transcribe


@contextmanager
def tuned(model: Path, _: Path) -> Iterator[Transcribe]:
    """The same by hand with all that helps but batches: a replica of one thread for each core."""
    if instructions := instruction_set():
        os.environ[FORCED_INSTRUCTIONS] = instructions
    whisper = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1, num_workers=available())

    def transcribe(path: Path, language: str | None) -> str:
        segments, _ = whisper.transcribe(
            str(path), language=language, vad_filter=True, condition_on_previous_text=False
        )
        return "".join(segment.text for segment in segments)

    yield transcribe


@contextmanager
def batched(model: Path, _: Path) -> Iterator[Transcribe]:
    """faster-whisper's own batches, inside one file."""
    whisper = BatchedInferencePipeline(WhisperModel(str(model), device="cpu", compute_type="int8"))

    def transcribe(path: Path, language: str | None) -> str:
        segments, _ = whisper.transcribe(str(path), language=language, batch_size=8, without_timestamps=False)
        return "".join(segment.text for segment in segments)

    yield transcribe


@contextmanager
def pipeline(model: Path, data: Path) -> Iterator[Transcribe]:
    """Our worker's compute side in one process, no platform round it."""
    cache = ModelCache(Settings(model=str(model), device="cpu", data_dir=data))

    def transcribe(path: Path, language: str | None) -> str:
        samples = decode(path, limit_s=1e6)
        groups = windows(detect_speech(samples))
        with cache.get(str(model)) as engine:
            known = language or engine.detect_language(Window.collect(groups[0], samples).samples)[0]
            written = engine.transcribe(
                (Window.collect(group, samples) for group in groups),
                Options().decoding(),
                language=known,
                owner=str(path),
                cancelled=lambda: False,
            )
            return "".join(segment.text for segments in written for segment in segments)

    yield transcribe
    cache.close()


@contextmanager
def platform(model: Path, data: Path) -> Iterator[Transcribe]:
    """All of it: HTTP, ledger, Celery, one worker."""
    with serving(model, data) as client:

        def transcribe(path: Path, language: str | None) -> str:
            job = client.submit(path, **({"language": language} if language else {}))
            client.wait(job.id)
            text = str(client.result(job.id, "text"))
            client.delete(job.id)  # or the next round would be answered from the cache
            return text

        yield transcribe


@contextmanager
def serving(
    model: Path, data: Path, worker: Worker | None = None, *, device: str = "cpu", processes: int = 1, workers: int = 1
) -> Iterator[Client]:
    """A client of a platform as `murmur up` starts it, with so many *processes* of the API and so many *workers*."""
    settings = Settings(
        model=str(model),
        device=device,  # type: ignore[arg-type]
        data_dir=data,
        api=Api(processes=processes),
        worker=worker or Worker(),
        limits=Limits(max_memory_percent=100, min_free_disk_bytes=0),
    )
    local = LocalPlatform(settings, PlatformConfig(workers, port=free_port()), sink=_unheard, say=_unheard)
    try:
        local.start()
        local.until_ready(60)
        with Client(local.url, timeout_s=600) as client:
            yield client
    finally:
        local.stop()


def _unheard(*_: str) -> None:
    return


CONTESTANTS = {f.__name__: f for f in (sequential, tuned, batched, pipeline, platform)}


def cpu_s() -> float:
    """CPU seconds of this process and of those that it started."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def busy_s() -> float:
    """Seconds in which our batcher's threads computed, in this process; 0 where there is no batcher."""
    return counters.REGISTRY.get_sample_value("murmur_worker_model_busy_seconds_total") or 0.0


def main() -> None:
    """Serve one contestant until standard input ends."""
    name, model, data = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    own = CONTESTANTS.get(name)
    with own(model, data) if own else peers.running(json.loads(os.environ["BENCH_PEER"]), model) as transcribe:
        print("ready", file=out)
        for line in sys.stdin:
            task = json.loads(line)

            def one(path: str, task: dict[str, str] = task) -> tuple[str, float]:
                start = time.perf_counter()
                return transcribe(Path(path), task["language"]), time.perf_counter() - start

            cpu, busy, start = cpu_s(), busy_s(), time.perf_counter()
            with ThreadPoolExecutor(int(task["at_once"])) as pool:
                results = list(pool.map(one, task["paths"]))
            wall = time.perf_counter() - start
            texts, each = zip(*results, strict=True)
            came = {"wall_s": wall, "cpu_s": cpu_s() - cpu, "busy_s": busy_s() - busy, "texts": texts, "each_s": each}
            print(json.dumps(came), file=out)


if __name__ == "__main__":
    main()
