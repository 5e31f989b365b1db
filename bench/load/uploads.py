"""Uploads: how many a second beside a bare streaming upload with hash and fsync, what a huge one costs, who waits."""

import asyncio
import os
import statistics
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.load.clients import p99
from bench.load.http import Answer, Connection
from bench.load.stack import OTHER_CORE, Service, Stack, pin, running
from demo import SAMPLES

RATE = 16_000
PIECE = 1 << 18
AT_ONCE = 4
CURVE_S = 0.25


@dataclass(slots=True)
class Uploads:
    """Recordings of one size: how many a second reach the bare app and ours, round by round, and our CPU for each."""

    megabytes: float
    bare_per_s: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def shares(self) -> list[float]:
        """Of the bare app's."""
        return [own / bare for own, bare in zip(self.per_s, self.bare_per_s, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    All that was measured.

    ``short_cpu_ms`` is the API's CPU time for a submit of 10 s of FLAC, its probe's included, and ``probe_cpu_ms`` the
    probe's alone. ``polls_ms`` were measured while *crowd* uploads came at once; ``crowd_errors`` says what those of
    them met that failed. ``huge`` has by the way (to the API, through nginx) the seconds that the huge one took, and
    the curve of the API's resident bytes meanwhile.
    """

    sizes: list[Uploads]
    short_cpu_ms: float
    probe_cpu_ms: float
    huge_bytes: int
    huge: dict[str, tuple[float, list[int]]]
    crowd: int
    polls_ms: list[float]
    crowd_errors: Counter[str]


def wav(size: int, number: int) -> Iterator[bytes]:
    """A recording of *size* bytes, mono at 16 kHz, in pieces: silence but for its number."""
    data = size - 44
    yield struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", data
    )
    yield number.to_bytes(8, "little")
    rest, zeros = data - 8, bytes(PIECE)
    while rest:
        yield zeros[: min(PIECE, rest)]
        rest -= min(PIECE, rest)


async def upload(url: str, path: str, size: int, number: int) -> Answer:
    """Send one as a raw body; the answer."""
    connection = Connection.to(url)
    try:
        await connection.send("POST", path, content_length=str(size), content_type="audio/wav")
        for piece in wav(size, number):
            await connection.write(piece)
        return await connection.answer()
    finally:
        connection.close()


def measure(
    *,
    rounds: int,
    seconds: float,
    sizes: tuple[float, ...] = (1, 10),
    huge_bytes: int = 1_000_000_000,
    crowd: int = 200,
    **settings: str,
) -> Figures:
    """Measure everything in turn; *huge_bytes* 0 leaves the huge one out."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), through_nginx=huge_bytes > 0, **settings) as stack,
    ):
        pin(os.getpid(), OTHER_CORE)
        return uvloop.run(
            _measure(stack, rounds=rounds, seconds=seconds, sizes=sizes, huge_bytes=huge_bytes, crowd=crowd)
        )


async def _measure(
    stack: Stack, *, rounds: int, seconds: float, sizes: tuple[float, ...], huge_bytes: int, crowd: int
) -> Figures:
    numbers = iter(range(1, 1 << 40))
    kinds = [Uploads(size) for size in sizes]
    await _some(stack.api, "/v1/jobs", 100_000, 0.5, numbers)  # the sandbox has started
    # Before all others: what they leave in the allocator's hands would hide what a huge one takes.
    ways = {"to the API": stack.api.url, "through nginx": stack.api.edge_url} if huge_bytes else {}
    huge = {way: await _huge(stack.api, url, huge_bytes, numbers) for way, url in ways.items()}
    for _ in range(rounds):
        for kind in kinds:
            size = round(kind.megabytes * 1e6)
            kind.bare_per_s.append((await _some(stack.bare, "/upload", size, seconds, numbers))[0])
            per_s, cpu_ms = await _some(stack.api, "/v1/jobs", size, seconds, numbers)
            kind.per_s.append(per_s)
            kind.cpu_ms.append(cpu_ms)
    short_ms, probe_ms = await _short(stack.api, seconds, numbers)
    polls, errors = await _beside(stack, crowd, numbers) if crowd else ([], Counter())
    return Figures(
        sizes=kinds,
        short_cpu_ms=short_ms,
        probe_cpu_ms=probe_ms,
        huge_bytes=huge_bytes,
        huge=huge,
        crowd=crowd,
        polls_ms=polls,
        crowd_errors=errors,
    )


async def _some(service: Service, path: str, size: int, seconds: float, numbers: Iterator[int]) -> tuple[float, float]:
    """Uploads a second, a few at a time, and the service's CPU time for one in ms."""
    done, began, cpu = 0, time.monotonic(), service.cpu_s()

    async def client() -> None:
        nonlocal done
        while time.monotonic() < began + seconds:
            answer = await upload(service.url, path, size, next(numbers))
            if answer.status not in (200, 202):
                raise SystemExit(f"{path} of {size} bytes was answered {answer}")
            done += 1

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return done / (time.monotonic() - began), 1000 * (service.cpu_s() - cpu) / done


async def _short(service: Service, seconds: float, numbers: Iterator[int]) -> tuple[float, float]:
    """CPU time of a submit of a short FLAC in ms, and its probe's share."""
    flac = SAMPLES["short"].path.read_bytes()
    connection = Connection.to(service.url)
    done, began, cpu, probing = 0, time.monotonic(), service.cpu_s(), _probes_s(service)
    while time.monotonic() < began + seconds:
        body = flac + next(numbers).to_bytes(8, "big")
        answer = await connection.request("POST", "/v1/jobs", body, content_type="audio/flac")
        if answer.status != 202:
            raise SystemExit(f"a short upload was answered {answer.status}")
        done += 1
    connection.close()
    return 1000 * (service.cpu_s() - cpu) / done, 1000 * (_probes_s(service) - probing) / done


def _probes_s(service: Service) -> float:
    """Seconds on the processors of the process that probes, and of all that it forked."""
    times = [one.cpu_times() for one in service.process.children(recursive=True)]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


async def _beside(stack: Stack, crowd: int, numbers: Iterator[int]) -> tuple[list[float], Counter[str]]:
    """What polls took in ms while so many uploads came at once, and what those of these met that failed."""
    connection = Connection.to(stack.api.url)
    body = b"".join(wav(100_000, next(numbers)))
    job = (await connection.request("POST", "/v1/jobs", body, content_type="audio/wav")).headers["location"]
    coming = [asyncio.create_task(upload(stack.api.url, "/v1/jobs", 1_000_000, next(numbers))) for _ in range(crowd)]
    took = []
    while not all(task.done() for task in coming):
        began = time.perf_counter()
        await connection.request("GET", job)
        took.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(0.005)
    connection.close()
    ends = await asyncio.gather(*coming, return_exceptions=True)
    met = (str(end.status) if isinstance(end, Answer) else repr(end) for end in ends)
    return took, Counter(what for what in met if what != "202")


async def _huge(service: Service, url: str, size: int, numbers: Iterator[int]) -> tuple[float, list[int]]:
    """Seconds, and resident bytes of the API while a huge recording comes, beginning with what it had before."""
    began, rss = time.monotonic(), [service.rss_bytes()]
    coming = asyncio.create_task(upload(url, "/v1/jobs", size, next(numbers)))
    while not coming.done():
        await asyncio.wait([coming], timeout=CURVE_S)
        rss.append(service.rss_bytes())
    if coming.result().status != 202:
        raise SystemExit(f"the huge upload was answered {coming.result()}")
    return time.monotonic() - began, rss


def table(figures: Figures) -> str:
    """All figures in lines."""
    lines = ["| uploads | a second | CPU ms | bare | share | target |", "|---|---|---|---|---|---|"]
    for kind in figures.sizes:
        shares = kind.shares()
        lines.append(
            f"| {kind.megabytes:g} MB | {statistics.median(kind.per_s):.1f} | {statistics.median(kind.cpu_ms):.1f} "
            f"| {statistics.median(kind.bare_per_s):.1f} "
            f"| {statistics.median(shares):.2f} ({min(shares):.2f}–{max(shares):.2f}) | ≥ 0.7 |"
        )
    lines += ["", "| | | target |", "|---|---|---|"]
    lines.append(f"| a submit of 10 s of FLAC, CPU ms | {figures.short_cpu_ms:.1f} | |")
    lines.append(f"| of that the probe, CPU ms | {figures.probe_cpu_ms:.1f} | ≤ 2 |")
    for way, (took_s, rss) in figures.huge.items():
        growth = (max(rss) - rss[0]) / 1e6
        curve = ", ".join(f"{one / 1e6:.0f}" for one in rss[:: max(1, len(rss) // 12)])
        size = f"{figures.huge_bytes / 1e6:,.0f} MB {way}"
        lines.append(f"| {size} in {took_s:.0f} s raise RSS by | {growth:.1f} MB | < 32 MB |")
        lines.append(f"| RSS meanwhile, MB | {curve} | |")
    if figures.polls_ms:
        lines.append(
            f"| polls beside {figures.crowd} uploads of 1 MB at once, median and p99 ms "
            f"| {statistics.median(figures.polls_ms):.1f}, {p99(figures.polls_ms):.1f} | |"
        )
        lines.append(
            f"| of these uploads failed | {figures.crowd_errors.total()} {dict(figures.crowd_errors) or ''} | 0 |"
        )
    return "\n".join(lines)
