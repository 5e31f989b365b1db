"""Thousands of clients at once: those who poll, those who hold a long-poll, those who hold an event stream."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from bench.load.http import Connection
from bench.load.moves import Moves
from bench.load.stack import OTHER_CORE, Stack, on, pin, running

COME_S = 30.0
"""They come at any time within so long: as they would, and not all in one moment."""

COMING_S = 60.0
SETTLE_S = 5.0
LOOK_S = 0.1
REGISTERED_S = 1.0
KINDS = ("poll", "long-poll", "events")
FASTER = (0.5, 0.25, 0.12, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01)


@dataclass(slots=True)
class Seen:
    """What the clients met in ms: polls since they were due, their driver's lateness, and how late ends were heard."""

    polls_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    live_ms: list[float] = field(default_factory=list)
    ends_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    here: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A faster pace, as a share of what `Retry-After` named, and what it came to; ``cpu``: cores that the API used."""

    pace: float
    per_s: float
    p99_ms: float
    errors: int
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The figures of a run; ``cores``: of which process what share of a core."""

    clients: int
    seconds: float
    seen: Seen
    polls_per_s: float
    cores: dict[str, float]
    bytes_each: float
    descriptors: int
    redis_connections: int
    steps: list[Step]


class Driver:
    """A process of clients of one kind."""

    def __init__(self, kind: str, port: int) -> None:
        argv = [sys.executable, "-m", "bench.load.crowd", kind, "127.0.0.1", str(port)]
        self.kind = kind
        self._process = subprocess.Popen(
            on([OTHER_CORE], argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, **order: Any) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def report(self) -> dict[str, Any]:
        """What its clients met since the last report."""
        self.tell(report=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the driver of clients ({self.kind}) ended")
        found: dict[str, Any] = json.loads(line)
        return found


class Looks:
    """Asks the API ten times a second whether it lives: what that takes is how late its loop is with everything."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.took_ms: list[float] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _look(self) -> None:
        connection = Connection.to(self._url)
        while not self._over.is_set():
            began = time.perf_counter()
            await connection.request("GET", "/health/live")
            self.took_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(LOOK_S)
        connection.close()


class Run:
    """Drivers, the stack and the jobs that they wait for."""

    def __init__(self, stack: Stack, moves: Moves, drivers: list[Driver], looks: Looks) -> None:
        self._stack = stack
        self._moves = moves
        self._drivers = drivers
        self._looks = looks
        server = stack.redis.info("server")["process_id"]
        self._redis = psutil.Process(int(server))

    def collect(self) -> tuple[Seen, dict[str, float]]:
        """What was met since the last time, and CPU seconds of everybody since their start."""
        seen, cpu = Seen(), {"API": self._stack.api.cpu_s()}
        seen.live_ms, self._looks.took_ms = self._looks.took_ms, []
        times = self._redis.cpu_times()
        cpu["Valkey"] = times.user + times.system
        for driver in self._drivers:
            found = driver.report()
            cpu[f"clients ({driver.kind})"] = found["cpu_s"]
            seen.polls_ms += found["polls_ms"]
            seen.late_ms += found["late_ms"] if driver.kind == "poll" else []
            seen.answers.update(found["answers"])
            seen.errors.update(found["errors"])
            seen.here[driver.kind] = found["here"]
            known = ((self._moves.ended_at.get(job), heard) for job, heard in found["ends"])
            seen.ends_ms[driver.kind] = [1000 * (heard - at) for at, heard in known if at is not None]
        return seen, cpu

    def over(self, seconds: float) -> tuple[Seen, dict[str, float]]:
        """What is met in so many seconds from now on, and everybody's share of a core meanwhile."""
        _, before = self.collect()
        began = time.monotonic()
        time.sleep(seconds)
        seen, after = self.collect()
        took = time.monotonic() - began
        return seen, {name: (spent - before[name]) / took for name, spent in after.items()}

    def faster(self, step_s: float) -> list[Step]:
        """Poll faster and faster, until a step has errors or a p99 over 100 ms."""
        steps: list[Step] = []
        for pace in FASTER:
            for driver in self._drivers:
                driver.tell(pace=pace)
            time.sleep(step_s)  # those who were told the slower pace have come once more
            seen, cores = self.over(step_s)
            slow, errors = p99(seen.polls_ms), sum(seen.errors.values())
            steps.append(
                Step(pace=pace, per_s=len(seen.polls_ms) / step_s, p99_ms=slow, errors=errors, cpu=cores["API"])
            )
            if slow > 100 or errors:
                break
        return steps


def hold(
    *,
    clients: int,
    seconds: float,
    ends_per_s: float,
    processes: int = 1,
    step_s: float = 10.0,
    pace: float = 1.0,
    **settings: str,
) -> Held:
    """Hold *clients* for *seconds*, and then poll faster and faster, *step_s* at each pace, while it goes well."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        there = stack.enter_context(running(Path(directory), processes=processes, **settings))
        pin(os.getpid(), OTHER_CORE)
        moves = Moves(there.redis_url)
        stack.callback(moves.stop)
        come_s = min(COME_S, clients / 100)
        spare = 20 + clients // 15 + round(ends_per_s * (seconds + 2 * step_s * len(FASTER)))
        jobs = moves.submit(clients + spare)
        before = there.api.rss_bytes()
        moves.be_there(ends_per_s, most=spare - len(KINDS))
        time.sleep(REGISTERED_S)  # a job's turn is told by the speed of the workers that are known
        drivers = [stack.enter_context(Driver(kind, there.api.port)) for kind in KINDS]
        for number, driver in enumerate(drivers):
            own = jobs[number:clients:3]
            driver.tell(pace=pace, jobs=own, spare=jobs[clients + number :: 3], within_s=come_s)
        run = Run(there, moves, drivers, stack.enter_context(Looks(there.api.url)))
        _arrived(run, clients)
        moves.begin()
        seen, cores = run.over(seconds)
        return Held(
            clients=clients,
            seconds=seconds,
            seen=seen,
            polls_per_s=len(seen.polls_ms) / seconds,
            cores=cores,
            bytes_each=(there.api.rss_bytes() - before) / clients,
            descriptors=there.api.descriptors(),
            redis_connections=int(there.redis.info("clients")["connected_clients"]),
            steps=run.faster(step_s) if step_s else [],
        )


def _arrived(run: Run, clients: int) -> None:
    """Wait until all are there: measured is what they cost then, not how they come."""
    deadline = time.monotonic() + COME_S + COMING_S
    errors: Counter[str] = Counter()
    while True:
        seen, _ = run.collect()
        errors += seen.errors
        if sum(seen.here.values()) == clients:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"only {seen.here} of {clients} clients have come: {dict(errors)}")
        time.sleep(0.5)
    if errors:
        raise SystemExit(f"clients met errors while they came: {dict(errors)}")
    time.sleep(SETTLE_S)


def p99(values: list[float]) -> float:
    """The slowest hundredth's best; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))] if values else 0.0


def table(held: Held) -> str:
    """A run in lines."""
    seen = held.seen
    lines = [
        f"| clients | {held.clients:,}, a third of each kind ({', '.join(KINDS)}), for {held.seconds:g} s |",
        "|---|---|",
        f"| errors | {sum(seen.errors.values())} {dict(seen.errors) or ''} |",
        f"| answers | {dict(seen.answers)} |",
        f"| polls a second | {held.polls_per_s:,.0f} |",
        f"| a poll since it was due, median, p99 and longest, ms | {_three(seen.polls_ms)} |",
        f"| of that the driver's lateness, median, p99 and longest, ms | {_three(seen.late_ms)} |",
        f"| `/health/live` ten times a second, median, p99 and longest, ms | {_three(seen.live_ms)} |",
    ]
    lines += [
        f"| a job's end is heard by its {kind}, median, p99, longest, ms | {_three(took)} ({len(took)}) |"
        for kind, took in seen.ends_ms.items()
    ]
    lines += [
        f"| share of a core | {', '.join(f'{name} {share:.2f}' for name, share in held.cores.items())} |",
        f"| memory for each client, kB | {held.bytes_each / 1000:.0f} |",
        f"| open files of the API, connections to Redis | {held.descriptors}, {held.redis_connections} |",
    ]
    lines += [
        f"| {step.pace:g} of the pace: polls a second, p99 ms, errors, the API's cores "
        f"| {step.per_s:,.0f}, {step.p99_ms:.0f}, {step.errors}, {step.cpu:.2f} |"
        for step in held.steps
    ]
    return "\n".join(lines)


def _three(values: list[float]) -> str:
    return f"{statistics.median(values or [0]):.1f}, {p99(values):.1f}, {max(values or [0]):.1f}"
