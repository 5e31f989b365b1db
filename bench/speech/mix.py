"""
How long short jobs take alone, and how long while a long recording is in work: `python -m bench.speech.mix --help`.

One client sends short recordings one after the other to a platform with one worker. Rounds go over both conditions in
turn; percentiles are over all rounds together.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import demo
from bench.speech.contestants import serving
from bench.speech.corpus import Clip, clips
from murmur.client.client import Client

LANGUAGE = "en"
UNDER_WAY_S = 5.0
"""After so long the long recording is decoded and in the batcher."""


def latencies(client: Client, recordings: Sequence[Clip]) -> list[float]:
    """Seconds from each submit to its transcript."""
    took = []
    for clip in recordings:
        start = time.perf_counter()
        job = client.submit(clip.path, language=LANGUAGE)
        client.wait(job.id)
        client.result(job.id, "text")
        took.append(time.perf_counter() - start)
        client.delete(job.id)
    return took


def beside(client: Client, long: Clip, recordings: Sequence[Clip]) -> list[float]:
    """The same while *long* is in work."""
    job = client.submit(long.path, language=LANGUAGE)
    try:
        time.sleep(UNDER_WAY_S)
        took = latencies(client, recordings)
        if client.job(job.id).status.value != "processing":
            raise SystemExit(f"the long recording ended before the short ones ({took}): ask for a longer one")
        client.cancel(job.id)
        return took
    finally:
        client.delete(job.id)


def line(label: str, took: Sequence[float]) -> str:
    """A row of the table."""
    p95 = statistics.quantiles(took, n=20)[-1]
    return f"| {label} | {len(took)} | {statistics.median(took):.2f} | {p95:.2f} | {min(took):.2f}–{max(took):.2f} |"


def main() -> None:
    """Measure what the command line asks for, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", default="base", help="dimensions the demo model is widened to; 'demo': as it is")
    arguments.add_argument("--clips", type=int, default=12, help="short jobs of each round")
    arguments.add_argument("--seconds", type=float, default=10.0, help="length of a short recording")
    arguments.add_argument("--long", type=float, default=1800.0, help="length of the long one")
    arguments.add_argument("--rounds", type=int, default=5)
    asked = arguments.parse_args()
    alone: list[float] = []
    crowded: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        model = demo.export_ct2(Path(scratch) / asked.size, size=None if asked.size == "demo" else asked.size)
        short = clips(Path(scratch) / "clips", asked.clips, asked.seconds, seed=4)
        (long,) = clips(Path(scratch) / "clips", 1, asked.long, seed=5)
        with serving(model, Path(scratch) / "data") as client:
            latencies(client, short[:2])
            for _ in range(asked.rounds):
                alone += latencies(client, short)
                crowded += beside(client, long, short)
    print(f"{asked.size}, {asked.clips} × {asked.seconds:.0f} s, {asked.rounds} rounds, beside {long.seconds:.0f} s")
    print("\n| short jobs | n | median s | p95 s | range s |\n|---|---|---|---|---|")
    print(line("alone", alone), line("while the long one runs", crowded), sep="\n")
    ratio = statistics.quantiles(crowded, n=20)[-1] / statistics.quantiles(alone, n=20)[-1]
    print(f"\np95 beside the long one / p95 alone: {ratio:.2f}")


if __name__ == "__main__":
    main()
