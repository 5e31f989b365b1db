"""
Measure the ledger: what one Redis does for 1 to thousands of workers. `python -m bench.ledger.throughput --help`.

Nothing is computed: the workers are names, and a few processes call the real scripts for all of them. These processes
and the server share the machine, so what was reached in a second is the machine's; the server's time on its processor
is its own, and what one core could do follows from it.
"""

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from bench.ledger import crowd
from murmur.platform import ledger_server

SIZES = (1, 10, 100, 1000, 5000)
LOOKS = 50
SLOTS = 8
OWN = ("info", "flushall", "memory|usage")
WORK = (
    "workers", "jobs", "submits a second", "server's µs each", "jobs worked off a second", "server's µs each",
    "server's load", "jobs for a core-second", "scripts for a job", "commands in them", "bytes waiting", "completed",
)  # fmt: skip
LIFE = ("workers", "spans in each", "scripts a second", "share of a core", "took, of 1", "ms for a look at all figures")


CLAIMS = (
    "workers", "spans queued", "tenants", "languages", "claims a second", "server's µs each", "finishes a second",
    "server's µs each", "commands in both",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One row of claims: who claims, out of what."""

    workers: int = 100
    queued: int = 0
    tenants: int = 10
    languages: int = 0


CASES = (
    Case(workers=10), Case(), Case(workers=1000), Case(queued=100_000), Case(tenants=1000), Case(languages=10),
    Case(languages=50), Case(tenants=1000, languages=50),
)  # fmt: skip


@dataclass(slots=True)
class Cost:
    """What a stretch of time cost the server: seconds on its processor, scripts, commands within them."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    scripts: int = 0
    commands: int = 0

    def add(self, other: "Cost") -> None:
        """Count another stretch too."""
        self.wall_s += other.wall_s
        self.cpu_s += other.cpu_s
        self.scripts += other.scripts
        self.commands += other.commands


class Ledger:
    """The server under load, and the processes that load it."""

    def __init__(self, url: str, processes: int) -> None:
        self.url = url
        self.redis = Redis.from_url(url, decode_responses=True)
        # Memory that is given back in the background would be counted in what comes next.
        self.redis.config_set("lazyfree-lazy-user-flush", "no")
        self._processes = processes
        self._pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))

    def close(self) -> None:
        """End the load's processes."""
        self._pool.shutdown()

    def share(self, names: Sequence[str]) -> list[Sequence[str]]:
        """*names* in as many parts as there are processes."""
        return [part for part in (names[start :: self._processes] for start in range(self._processes)) if part]

    def call(self, task: Callable[..., Any], *each: Sequence[Any]) -> list[Any]:
        """Call *task* in all processes at the same time, with the next of *each*."""
        return [
            done.result() for done in [self._pool.submit(task, self.url, *args) for args in zip(*each, strict=True)]
        ]

    def submit(self, count: int, tenants: int, languages: int = 0) -> None:
        """Hand in *count* recordings of one window; without *languages* they are to be detected."""
        all_of_them = range(self._processes)
        some = [count // self._processes + (number < count % self._processes) for number in all_of_them]
        self.call(crowd.submit, some, *([same for _ in all_of_them] for same in (crowd.WINDOW_S, tenants, languages)))

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """What the block costs."""
        cost, before, began = Cost(), self._counters(), time.monotonic()
        yield cost
        cost.wall_s = time.monotonic() - began
        after = self._counters()
        cost.cpu_s = after[0] - before[0]
        cost.scripts, cost.commands = after[1] - before[1], after[2] - before[2]

    def _counters(self) -> tuple[float, int, int]:
        info: dict[str, Any] = self.redis.info("everything")
        cpu = sum(info[f"used_cpu_{kind}_main_thread"] for kind in ("user", "sys"))
        calls = {
            name.removeprefix("cmdstat_"): row["calls"] for name, row in info.items() if name.startswith("cmdstat_")
        }
        scripts = calls.pop("evalsha", 0)
        return cpu, scripts, sum(count for name, count in calls.items() if name not in OWN)

    def bytes(self) -> int:
        """Memory of the data but for the audit stream, whose length is a setting."""
        info: dict[str, Any] = self.redis.info("memory")
        passing = info["mem_clients_normal"] + info["mem_aof_buffer"]
        return int(info["used_memory"]) - int(passing) - self.audit_bytes()

    def audit_bytes(self) -> int:
        """Memory of the audit stream."""
        return int(self.redis.memory_usage("murmur:audit", samples=0) or 0)


def work(ledger: Ledger, workers: int, jobs: int, tenants: int, languages: int) -> Iterator[str]:
    """Submit and work off *jobs* with so many workers; the cells of a row."""
    parts = register(ledger, workers)
    empty = ledger.bytes()
    with ledger.measured() as took:
        ledger.submit(jobs, tenants, languages)
    waiting = (ledger.bytes() - empty) / jobs
    with ledger.measured() as worked:
        ended = sum(ledger.call(crowd.work, parts, [1] * len(parts)))
    if ended != jobs:
        raise SystemExit(f"{jobs} jobs were handed in, {ended} came to an end")
    yield f"{workers:,}"
    yield f"{jobs:,}"
    yield f"{jobs / took.wall_s:,.0f}"
    yield f"{took.cpu_s / jobs * 1e6:.0f}"
    yield f"{jobs / worked.wall_s:,.0f}"
    yield f"{worked.cpu_s / jobs * 1e6:.0f}"
    yield f"{worked.cpu_s / worked.wall_s:.0%}"
    yield f"{jobs / (took.cpu_s + worked.cpu_s):,.0f}"
    yield f"{(took.scripts + worked.scripts) / jobs:.1f}"
    yield f"{(took.commands + worked.commands) / jobs:.0f}"
    yield f"{waiting:,.0f}"
    yield f"{(ledger.bytes() - empty) / jobs:,.0f}"


def live(ledger: Ledger, workers: int, spans_each: int, seconds: int) -> Iterator[str]:
    """What so many workers cost beside their work; the cells of a row."""
    parts = register(ledger, workers)
    ledger.submit(workers * spans_each, tenants=10)
    held = ledger.call(crowd.hold, parts, [spans_each] * len(parts))
    with ledger.measured() as still:
        time.sleep(1.0)
    with ledger.measured() as lived:
        walls = ledger.call(crowd.live, parts, [seconds] * len(parts), held)
    with ledger.measured() as looked:
        ledger.call(crowd.look, [LOOKS])
    yield f"{workers:,}"
    yield str(spans_each)
    yield f"{lived.scripts / seconds:,.0f}"
    yield f"{max(0.0, lived.cpu_s - still.cpu_s * lived.wall_s) / seconds:.1%}"
    yield f"{max(walls) / seconds:.1f}"
    yield f"{looked.cpu_s / LOOKS * 1e3:.2f}"


def register(ledger: Ledger, workers: int) -> list[Sequence[str]]:
    """Begin anew with so many workers; their names in parts."""
    ledger.redis.flushall()
    parts = ledger.share([f"worker@host{number:05d}" for number in range(workers)])
    ledger.call(crowd.register, parts)
    return parts


def claims(ledger: Ledger, case: Case, count: int) -> Iterator[str]:
    """Claim and finish *count* spans out of a queue; the cells of a row."""
    parts = register(ledger, case.workers)
    queued = max(case.queued, 2 * count)
    ledger.submit(queued, case.tenants, case.languages)
    claimed, finished, taken, done = Cost(), Cost(), 0, 0
    while taken < count:  # in waves: no worker holds more than it has slots
        each = [min(SLOTS * len(part), -(-(count - taken) // len(parts))) for part in parts]
        with ledger.measured() as cost:
            held = ledger.call(crowd.claim, parts, each)
        claimed.add(cost)
        taken += sum(map(len, held))
        with ledger.measured() as cost:
            done += sum(ledger.call(crowd.finish, held))
        finished.add(cost)
    if done != taken:
        raise SystemExit(f"{taken} spans were claimed, {done} recordings came to an end")
    yield f"{case.workers:,}"
    yield f"{queued:,}"
    yield f"{case.tenants:,}"
    yield str(case.languages or "–")
    yield f"{taken / claimed.wall_s:,.0f}"
    yield f"{claimed.cpu_s / taken * 1e6:.0f}"
    yield f"{done / finished.wall_s:,.0f}"
    yield f"{finished.cpu_s / done * 1e6:.0f}"
    yield f"{(claimed.commands + finished.commands) / done:.0f}"


def windows(ledger: Ledger) -> str:
    """What each further window of a recording adds to its job."""
    weights, costs = [], []
    for length in (1, 11):
        parts = register(ledger, 10)
        empty = ledger.bytes()
        ledger.submit(200, tenants=1)
        with ledger.measured() as worked:
            ledger.call(crowd.work, parts, [length] * len(parts))
        costs.append(worked.cpu_s / 200)
        weights.append((ledger.bytes() - empty) / 200)
    entry = ledger.audit_bytes() / int(ledger.redis.xlen("murmur:audit"))
    return (
        f"Each further window of 30 s costs {(costs[1] - costs[0]) / 10 * 1e6:.0f} µs and adds "
        f"{(weights[1] - weights[0]) / 10:,.0f} bytes; an entry of the audit stream takes {entry:.0f} bytes."
    )


def table(heads: Sequence[str], rows: Iterator[Iterator[str]]) -> None:
    """Print a table as it comes."""
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for cells in rows:
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=SIZES, help="how many workers, a row for each")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs of a row; at least two for each worker")
    parser.add_argument("--slots", type=int, default=8, help="spans that a busy worker holds")
    parser.add_argument(
        "--seconds", type=int, default=5, help="length of the look at what workers cost beside their work"
    )
    parser.add_argument("--tenants", type=int, default=10, help="clients that the jobs come from")
    parser.add_argument("--languages", type=int, default=0, help="languages that the jobs name; 0: to be detected")
    parser.add_argument("--processes", type=int, default=2, help="processes of the load")
    parser.add_argument("--claims", type=int, default=2000, help="claims of a row of claims; 0: none of these rows")
    parser.add_argument("--only-claims", action="store_true", help="no other table")
    parser.add_argument("--most", type=int, default=10_000, help="spans held at most: no busy row for more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = ledger_server.start(Path(directory), lambda *_: None)
        ledger = Ledger(server.url, options.processes)
        try:
            info: dict[str, Any] = ledger.redis.info("server")
            name = info.get("server_name", "redis")
            print(f"{name} {info.get(f'{name}_version')}, append-only file, fsync every second, on a loopback socket;")
            print(f"{options.processes} processes of load beside it on {os.cpu_count()} cores: {platform.machine()}")
            if options.claims:
                table(CLAIMS, (claims(ledger, case, options.claims) for case in CASES))
            if options.only_claims:
                return
            sizes = [(workers, max(options.jobs, 2 * workers)) for workers in options.workers]
            table(WORK, (work(ledger, workers, jobs, options.tenants, options.languages) for workers, jobs in sizes))
            print(f"\n{windows(ledger)}")
            lives = [(workers, spans) for workers in options.workers for spans in (0, options.slots)]
            lives = [(workers, spans) for workers, spans in lives if workers * spans <= options.most]
            table(LIFE, (live(ledger, workers, spans, options.seconds) for workers, spans in lives))
        finally:
            ledger.close()
            server.process.stop()


if __name__ == "__main__":
    main()
