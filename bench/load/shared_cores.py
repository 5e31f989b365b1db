"""
One worker against several on the same cores: `python -m bench.load.shared_cores`.

Platforms with one worker, with several that each take all cores, and with several that share them stand side by side
and transcribe the same kind of clips in turn. Beside the time, the processor's seconds per second of audio are
measured: on a machine that does other things too they say what a quiet one would give.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import demo
from bench.speech.corpus import clips
from murmur.client.client import Client
from murmur.platform.ledger_server import free_port
from murmur.platform.local import LocalPlatform, PlatformConfig
from transcription.settings import Settings, Worker

WAIT_S = 300.0


@dataclass(slots=True)
class Row:
    """A platform, and what it took in each round."""

    label: str
    platform: LocalPlatform
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def cpu_s(self) -> float:
        """Seconds on the processors of all workers so far."""
        names = [name for name in self.platform.supervisor.names() if name.startswith("w")]
        running = [process for name in names if (process := self.platform.supervisor.process(name))]
        trees = [one for process in running for one in _tree(process.pid)]
        return sum(one.cpu_times().user + one.cpu_times().system for one in trees)


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


@contextmanager
def platform(folder: Path, model: Path, *, workers: int, model_workers: int) -> Iterator[LocalPlatform]:
    """A running platform that serves *model*."""
    settings = Settings(
        data_dir=folder,
        model=str(model),
        worker=Worker(model_workers=model_workers, encoder="ctranslate2", idle_unload_s=0),
        limits={"max_memory_percent": 100, "min_free_disk_bytes": 0},
    )
    running = LocalPlatform(
        settings, PlatformConfig(workers, port=free_port()), sink=lambda *_: None, say=lambda _: None
    )
    try:
        running.start()
        running.until_ready(WAIT_S)
        yield running
    finally:
        running.stop()


def measure(row: Row, folder: Path, *, count: int, seconds: float, seed: int) -> None:
    """Have *count* clips transcribed, and note what it took."""
    recordings = clips(folder, count, seconds, seed=seed)
    cpu_before, began = row.cpu_s(), time.monotonic()
    with Client(row.platform.url, patience_s=60) as client:
        jobs = [client.submit(clip.path) for clip in recordings]
        for job in jobs:
            if client.wait(job.id, seconds=WAIT_S).status != "completed":
                raise SystemExit(f"{row.label}: a job failed")
    audio_s = sum(clip.seconds for clip in recordings)
    row.seconds.append((time.monotonic() - began) / audio_s)
    row.cpu.append((row.cpu_s() - cpu_before) / audio_s)


def main() -> None:
    """Measure, and print a table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--size", default="base", help="dimensions the demo model is widened to")
    asked.add_argument("--workers", type=int, default=5)
    asked.add_argument("--clips", type=int, default=20)
    asked.add_argument("--seconds", type=float, default=10.0)
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    cores = psutil.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        here = Path(scratch)
        model = demo.export_ct2(here / given.size, size=given.size)
        kinds = (
            ("one worker", 1, 0),
            (f"{given.workers} workers, each with all cores", given.workers, cores),
            (f"{given.workers} workers that share them", given.workers, 0),
        )
        rows = []
        for label, workers, model_workers in kinds:
            started = platform(here / label, model, workers=workers, model_workers=model_workers)
            rows.append(Row(label, stack.enter_context(started)))
        for number in range(given.rounds + 1):
            # Another order each time; in the first round models are loaded, which counts for nothing.
            for row in rows[number % 3 :] + rows[: number % 3]:
                measure(
                    row, here / "clips", count=given.clips, seconds=given.seconds, seed=100 * number + rows.index(row)
                )
        for row in rows:
            wall, cpu = statistics.median(row.seconds[1:]), statistics.median(row.cpu[1:])
            base = rows[0]
            print(
                f"{row.label:<36} {1 / wall:6.1f} × real time   {cpu:.4f} CPU s per s   against one worker: time"
                f" {statistics.median(a / b for a, b in zip(row.seconds[1:], base.seconds[1:], strict=True)):.2f},"
                f" CPU {statistics.median(a / b for a, b in zip(row.cpu[1:], base.cpu[1:], strict=True)):.2f}"
            )


if __name__ == "__main__":
    main()
