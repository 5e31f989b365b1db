"""
Recordings of twelve hours, two at once, in one worker that may have 2 GB:
`python -m bench.speech.long_recordings --help`.

A whole worker (decoder, speech detection, the demo model) in a control group of its own, which it sees as it would in
a container. Linux, and root, because nobody else may make such a group. The curve is what the group's processes hold
themselves (RSS), in MiB; files' pages in memory, which the kernel takes back when it is short, count for nothing.
"""

import argparse
import base64
import secrets
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.speech.corpus import clips
from murmur.platform.ledger_server import free_port
from murmur.platform.local import PlatformConfig
from murmur.platform.processes import Program
from tests.platform import TestPlatform
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.settings import Encryption, Limits, Settings, Worker

GROUPS = Path("/sys/fs/cgroup")
TELEPHONE_RATE = 8000
SAMPLE_S = 1.0
PERIOD_S = 600.0
IN_GROUP = (
    'echo $$ > "$0/cgroup.procs" && exec unshare -m sh -c \'mount --bind "$0" "$1" && shift && exec "$@"\' "$0" "$@"'
)


class MemoryGroup:
    """A control group of version 2 or 1 with a limit of memory."""

    def __init__(self, limit_bytes: int) -> None:
        self._second = (GROUPS / "cgroup.controllers").exists()
        self.seen_as = GROUPS if self._second else GROUPS / "memory"
        self.path = self.seen_as / f"murmur-bench-{secrets.token_hex(4)}"
        self.path.mkdir()
        (self.path / ("memory.max" if self._second else "memory.limit_in_bytes")).write_text(str(limit_bytes))

    def rss(self) -> int:
        """Bytes that its processes hold themselves."""
        return self._stat("memory.stat")["anon" if self._second else "total_rss"]

    def kills(self) -> int:
        """How often a process was killed for want of memory."""
        return self._stat("memory.events" if self._second else "memory.oom_control")["oom_kill"]

    def remove(self) -> None:
        """Take it away; nothing runs in it any more."""
        self.path.rmdir()

    def _stat(self, name: str) -> dict[str, int]:
        rows = (line.split() for line in (self.path / name).read_text("utf-8").splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2}


class Confined(TestPlatform):
    """A platform whose workers run in a control group."""

    group: MemoryGroup

    def _worker(self, name: str) -> Program:
        program = super()._worker(name)
        argv = ["sh", "-c", IN_GROUP, str(self.group.path), str(self.group.seen_as), *program.argv]
        return replace(program, argv=argv)


@contextmanager
def sampled(group: MemoryGroup) -> Iterator[list[tuple[float, int]]]:
    """Seconds and MiB, once a second while the block runs."""
    curve: list[tuple[float, int]] = []
    over, began = threading.Event(), time.monotonic()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            curve.append((time.monotonic() - began, group.rss() >> 20))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield curve
    finally:
        over.set()
        thread.join()


def telephone(directory: Path, hours: float, number: int, *, speech: float) -> Path:
    """
    Write a recording of so many hours, in 8 kHz and mu-law, as a telephone system keeps them; *speech* is the share of
    each ten minutes in which somebody speaks.
    """
    (clip,) = clips(directory / "clips", 1, speech * PERIOD_S, seed=100 + number)
    samples = decode(clip.path, limit_s=1e4)
    samples = np.pad(samples, (0, max(0, round(PERIOD_S * RATE) - samples.size)))
    block = _mu_law(samples[: samples.size // 2 * 2].reshape(-1, RATE // TELEPHONE_RATE).mean(axis=1)).tobytes()
    size = round(hours * 3600 * TELEPHONE_RATE)
    path = directory / f"{number}.wav"
    with path.open("wb") as file:
        shape = struct.pack("<HHIIHH", 7, 1, TELEPHONE_RATE, TELEPHONE_RATE, 1, 8)
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + shape)
        file.write(b"data" + struct.pack("<I", size))
        for at in range(0, size, len(block)):
            file.write(block[: size - at])
    return path


def _mu_law(samples: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """G.711's companding of samples in [-1, 1]."""
    values = np.clip(np.abs(samples) * 32768, 0, 32635).astype(np.int32) + 132
    exponent = np.floor(np.log2(values)).astype(np.int32) - 7
    mantissa = (values >> (exponent + 3)) & 15
    return (~((np.where(samples < 0, 128, 0)) | (exponent << 4) | mantissa) & 255).astype(np.uint8)


def settings(directory: Path, *, encrypted: bool, engine: str) -> Settings:
    """Defaults but for what this is about."""
    key_file = ""
    if encrypted:
        (directory / "keys").write_text(f"k1 {base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        key_file = str(directory / "keys")
    return Settings(
        model="demo",
        data_dir=directory / "data",
        worker=Worker(engine=engine),
        limits=Limits(max_memory_percent=100, min_free_disk_bytes=0),
        encryption=Encryption(key_file=key_file),
    )


def main() -> None:
    """Measure, and print a row and the curve."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--hours", type=float, default=12.0)
    arguments.add_argument("--at-once", type=int, default=2)
    arguments.add_argument("--speech", type=float, default=1.0, help="share of the time in which somebody speaks")
    arguments.add_argument("--limit-mb", type=int, default=2048)
    arguments.add_argument("--encrypted", action="store_true", help="with encryption at rest")
    arguments.add_argument("--engine", default="auto", help="as MURMUR_WORKER__ENGINE")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        group = MemoryGroup(asked.limit_mb << 20)
        recordings = [telephone(Path(folder), asked.hours, n, speech=asked.speech) for n in range(asked.at_once)]
        platform = Confined(
            settings(Path(folder), encrypted=asked.encrypted, engine=asked.engine), PlatformConfig(port=free_port())
        )
        platform.group = group
        try:
            platform.start()
            platform.until_ready(120)
            before = group.rss() >> 20
            with platform.client(timeout_s=600) as client, sampled(group) as curve:
                began = time.monotonic()
                jobs = [client.submit(path, language="en") for path in recordings]
                submitted_s = time.monotonic() - began
                ended = [client.wait(job.id) for job in jobs]
                took_s = time.monotonic() - began
            print(
                "| recordings | hours each | encrypted | limit | idle | peak | killed | attempts | submitting | all |"
            )
            print(f"|{'---|' * 11}")
            attempts = "/".join(str(job.attempts) for job in ended)
            peak = max(mib for _, mib in curve)
            encrypted = "yes" if asked.encrypted else "no"
            what = f"{asked.at_once} | {asked.hours:g} | {asked.speech:.0%} | {encrypted} | {asked.limit_mb}"
            print(
                f"| {what} | {before} | {peak} | {group.kills()} | {attempts} | {submitted_s:.0f} s | {took_s:.0f} s |"
            )
            step = max(1, len(curve) // 24)
            print("\nMiB by seconds:", ", ".join(f"{s:.0f}: {mib}" for s, mib in curve[::step]))
        except BaseException:
            print("\n".join(platform.lines[-50:]))
            raise
        finally:
            platform.stop()
            group.remove()


if __name__ == "__main__":
    main()
