"""
What one worker's processes hold in memory, and give back: `python -m bench.speech.memory --help`.

The largest resident size seen in each step, sampled ten times a second, of the worker and all that it started, in MiB.
Pages that the worker and its decoder share count for both.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import demo
from bench.speech.contestants import serving
from bench.speech.corpus import clips
from murmur.client.client import Client
from transcription.settings import Worker

IDLE_S = 3.0
SETTLED_S = 2.0
SAMPLE_S = 0.1


def worker() -> psutil.Process:
    """The worker that this process started."""
    return next(child for child in psutil.Process().children() if "worker.app" in child.cmdline())


def resident(process: psutil.Process) -> int:
    """Bytes of *process* and all that it started."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def peak(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """Sample *process* while the block runs; what it yields gives the most that was seen."""
    most, over = [resident(process)], threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            most[0] = max(most[0], resident(process))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


def transcribe(client: Client, paths: list[Path]) -> None:
    """Queue all of *paths* at once, and wait for the last."""
    for job in [client.submit(path, language="en") for path in paths]:
        client.wait(job.id)


def main() -> None:
    """Measure what the command line asks for, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", default="base", help="dimensions the demo model is widened to; 'demo': as it is")
    arguments.add_argument("--long", type=float, default=1800.0, help="length of the long recording")
    arguments.add_argument("--queued", type=int, default=60, help="short jobs queued at once")
    asked = arguments.parse_args()
    print(f"{asked.size}, one worker\n\n| | MiB |\n|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        model = demo.export_ct2(Path(scratch) / asked.size, size=None if asked.size == "demo" else asked.size)
        short = [clip.path for clip in clips(Path(scratch) / "clips", asked.queued + 1, 10.0, seed=6)]
        long = [clip.path for clip in clips(Path(scratch) / "clips", 1, asked.long, seed=7)]
        with serving(model, Path(scratch) / "data", worker=Worker(idle_unload_s=IDLE_S)) as client:
            process = worker()
            print(f"| before any job | {resident(process) >> 20} |", flush=True)
            for label, paths in (
                ("one job of 10 s", short[:1]),
                (f"{asked.queued} jobs of 10 s queued at once", short[1:]),
                (f"one of {asked.long:.0f} s", long),
            ):
                with peak(process) as most:
                    transcribe(client, paths)
                    print(f"| {label} | {most() >> 20} |", flush=True)
            time.sleep(IDLE_S + SETTLED_S)
            print(f"| after the model was unloaded | {resident(process) >> 20} |", flush=True)


if __name__ == "__main__":
    main()
