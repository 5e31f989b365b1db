"""
Measure speed and word errors side by side: `make bench`, or `python -m bench.speech.run --help`.

Every row is a process that stays; rounds go over all rows in turn, so that what else the machine does falls on all of
them alike. A row's figure is the median over the rounds, with the range; ratios are against the first row, round by
round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import demo
from bench.speech.corpus import Clip, clips, word_errors
from murmur.platform import allocator
from transcription.observability.cores import available


@dataclass(slots=True)
class Row:
    """One contestant at one concurrency, and what came out in each round."""

    label: str
    contestant: str
    at_once: int
    allocator: Literal["", "glibc", "jemalloc"] = ""
    peer: dict[str, Any] | None = None
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    errors: tuple[int, int] = (0, 1)


ALLOCATORS: dict[str, dict[str, str]] = {
    "": {},
    "glibc": allocator.tunables(os.environ),
    "jemalloc": {"LD_PRELOAD": "libjemalloc.so.2", "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"},
}
"""What a process gets: nothing, our settings as `murmur up` and the image make them, or another allocator."""


def process(row: Row) -> tuple[str, str]:
    """Rows of one contestant and one allocator share a process."""
    return row.contestant, row.allocator


class Contestant:
    """A process that transcribes what it is told to."""

    def __init__(self, row: Row, model: Path, data: Path) -> None:
        env = os.environ | ALLOCATORS[row.allocator] | {"BENCH_PEER": json.dumps(row.peer)}
        argv = [sys.executable, "-m", "bench.speech.contestants", row.contestant, str(model), str(data)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{row.label} didn't start")

    def run(self, recordings: Sequence[Clip], *, at_once: int, language: str | None) -> dict[str, Any]:
        """Transcribe *recordings*, *at_once* at a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = {"paths": [str(clip.path) for clip in recordings], "at_once": at_once, "language": language}
        print(json.dumps(task), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


ROWS = (
    Row("faster-whisper, sequential", "sequential", 1),
    Row("faster-whisper, tuned by hand", "tuned", 2, allocator="glibc"),
    Row("our worker, in process", "pipeline", 12, allocator="glibc"),
    Row("our worker with jemalloc, CTranslate2's encoder", "pipeline", 12, allocator="jemalloc"),
    Row("the platform, 1 client", "platform", 1),
    Row("the platform, 4 clients", "platform", 4),
    Row("the platform, 16 clients", "platform", 16),
)
LONG_ROWS = (
    Row("faster-whisper, sequential", "sequential", 1),
    Row("faster-whisper, its batches of 8", "batched", 1),
    Row("our worker, in process", "pipeline", 1, allocator="glibc"),
    Row("the platform", "platform", 1),
)


def measure(rows: Sequence[Row], recordings: list[Clip], model: Path, *, rounds: int, language: str | None) -> None:
    """Run every row *rounds* times, in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        running = {process(row): Contestant(row, model, Path(scratch) / "-".join(process(row))) for row in rows}
        for contestant in running.values():  # load the model and touch its memory once
            contestant.run(recordings[:2], at_once=2, language=language)
        for number in range(rounds):
            for row in rows:
                came = running[process(row)].run(recordings, at_once=row.at_once, language=language)
                row.walls.append(came["wall_s"])
                row.cpus.append(came["cpu_s"])
                row.busy.append(came["busy_s"] / came["wall_s"] / available())
                found = [word_errors(clip.text, text) for clip, text in zip(recordings, came["texts"], strict=True)]
                row.errors = (sum(wrong for wrong, _ in found), sum(words for _, words in found))
                print(f"round {number + 1} {row.label}: {came['wall_s']:.1f} s", file=sys.stderr)
        for contestant in running.values():
            contestant.close()


def peer_rows(path: Path | None, at_once: int) -> Iterator[Row]:
    """Every peer of the file twice: as it comes, and with our allocator's settings, to tell design from allocator."""
    for name, peer in json.loads(path.read_text()).items() if path else ():
        yield Row(f"{name}, {at_once} clients", name, at_once, peer=peer)
        yield Row(f"{name}, with our allocator settings", f"{name}+", at_once, allocator="glibc", peer=peer)


def table(rows: Sequence[Row], seconds: float) -> str:
    """Markdown: ratios are medians of the rounds' own ratios, with their range."""
    first = rows[0]
    lines = [
        "| | wall s | × first, wall | × first, CPU | audio s per s | words wrong |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        wall = [a / b for a, b in zip(first.walls, row.walls, strict=True)]
        cpu = [a / b for a, b in zip(first.cpus, row.cpus, strict=True)]
        wrong, words = row.errors
        lines.append(
            f"| {row.label} | {_range(row.walls, 1)} | {_range(wall, 2)} | {_range(cpu, 2)} "
            f"| {seconds / statistics.median(row.walls):.1f} | {wrong} of {words} |"
        )
    return "\n".join(lines)


def _range(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    """Measure what the command line asks for, and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", default="base", help="dimensions the demo model is widened to; 'demo': as it is")
    arguments.add_argument("--clips", type=int, default=16)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--language", default="en", help="'auto': detect it")
    arguments.add_argument("--long", type=float, default=0.0, help="one recording of so many seconds instead")
    arguments.add_argument("--peers", type=Path, help="JSON file of other services: see bench/speech/peers.py")
    arguments.add_argument("--only", nargs="+", help="rows whose labels hold one of these words; the first always")
    asked = arguments.parse_args()
    rows = [*(LONG_ROWS if asked.long else ROWS), *peer_rows(asked.peers, 1 if asked.long else 16)]
    if not find_library("jemalloc"):
        rows = [row for row in rows if row.allocator != "jemalloc"]
    if asked.only:
        rows = [row for row in rows if row is rows[0] or any(word in row.label for word in asked.only)]
    language = None if asked.language == "auto" else asked.language
    with tempfile.TemporaryDirectory() as scratch:
        size = None if asked.size == "demo" else asked.size
        model = demo.export_ct2(Path(scratch) / asked.size, size=size)
        count, seconds = (1, asked.long) if asked.long else (asked.clips, asked.seconds)
        recordings = clips(Path(scratch) / "clips", count, seconds, seed=4)
        total = sum(clip.seconds for clip in recordings)
        measure(rows, recordings, model, rounds=asked.rounds, language=language)
    what = f"{asked.size}, {count} × {seconds:.0f} s ({total:.0f} s of audio)"
    print(f"{what}, {asked.rounds} rounds, language {language or 'detected'}\n")
    print(table(rows, total))
    for row in rows:
        if any(row.busy):
            percent = _range([100 * share for share in row.busy], 0)
            print(f"\n{row.label}: its model threads computed for {percent} % of the time")


if __name__ == "__main__":
    main()
