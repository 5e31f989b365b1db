"""Thousands of clients at once: those who poll, those who hold a long-poll, those who hold an event stream."""

import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson
import uvloop
from pydantic import SecretStr

from bench.ledger.crowd import MODELS, WINDOW, WINDOW_S
from bench.load.http import Connection
from bench.load.stack import OTHER_CORE, Stack, pin, running
from transcription.computation import Timing
from transcription.job import Audio, Submission
from transcription.ledger.connections import connect, connect_async
from transcription.ledger.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Ledger, Settings
from transcription.spans import Piece, Span

LONG_POLL_S = 60
SETTLE_S = 5.0
COMING_S = 120.0
KINDS = ("poll", "long-poll", "events")
FASTER = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)


@dataclass(slots=True)
class Seen:
    """What the clients met: how long polls took in ms, how late an end was heard in ms, errors by what they were."""

    polls_ms: list[float] = field(default_factory=list)
    ends_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The figures of a run."""

    clients: int
    seconds: float
    seen: Seen
    polls_per_s: float
    cpu_share: float
    bytes_each: float
    descriptors: int
    redis_connections: int
    steps: list[tuple[float, float, float]]


class Moves:
    """Jobs in the ledger itself, and a worker by name alone that ends them at a pace: nothing is computed."""

    def __init__(self, stack: Stack) -> None:
        settings = Settings(model=MODELS[0], ledger=Ledger(url=SecretStr(stack.redis_url)))
        self._jobs = RedisJobs(connect_async(settings.ledger), settings)
        self._spans = RedisSpans(connect(settings.ledger), settings)
        self._threads = ThreadPoolExecutor(1)
        self.ended_at: dict[str, float] = {}

    async def submit(self) -> str:
        """One more job that waits; its id."""
        name = uuid.uuid4().hex
        submission = Submission(
            job_id=name,
            tenant="default",
            audio=Audio(sha256=name * 2, bytes=1_000_000, duration_s=WINDOW_S, filename="recording.mp3"),
            model=MODELS[0],
            revision="r1",
            options=Options(),
        )
        job, _ = await self._jobs.submit(submission)
        return job.id

    async def end_some(self, per_s: float) -> None:
        """Bring so many jobs a second to their end, until cancelled."""
        info = WorkerInfo(
            id="mover", models=MODELS, engine="stub", device="cpu", compute_type="int8", slots=8, host="here", pid=1,
            started_at=1_700_000_000.0, rate=5.0,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 1 / per_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            await loop.run_in_executor(self._threads, self._end_one, info)

    def _end_one(self, info: WorkerInfo) -> None:
        self._spans.register(info)
        claim = self._spans.claim(info.id, models=MODELS, extras=True)
        if claim is None:
            return
        piece = Piece(Span(0.0, WINDOW_S), (Span(0.5, WINDOW_S - 0.5),))
        self._spans.prepared(claim, [piece], language="en", probability=0.9)
        self._spans.append(claim, WINDOW, window=0, audio_s=WINDOW_S)
        self._spans.finish(claim, Timing(audio_s=WINDOW_S, compute_s=5.0))

    async def close(self) -> None:
        """Let the connections go."""
        self._threads.shutdown()
        await self._jobs.close()


class Crowd:
    """The clients. Each has a connection and a job of its own, and takes the next job when that has ended."""

    def __init__(self, url: str, moves: Moves) -> None:
        self._url = url
        self._moves = moves
        self.pace = 1.0
        self.seen = Seen()

    async def client(self, kind: str, number: int) -> None:
        """Be one client, until cancelled; what goes wrong is counted, and it goes on."""
        # They don't all come in the same moment.
        await asyncio.sleep((number % 997) / 997 * SETTLE_S)
        connection = Connection.to(self._url)
        acts: dict[str, Callable[[Connection, str], Awaitable[None]]] = {
            "poll": self._poll, "long-poll": self._long_poll, "events": self._listen,
        }  # fmt: skip
        job = await self._moves.submit()
        try:
            while True:
                try:
                    self.seen.waiting[kind] += 1
                    await acts[kind](connection, job)
                    job = await self._moves.submit()
                except (OSError, EOFError, ValueError) as error:
                    self.seen.errors[f"{kind}: {type(error).__name__}"] += 1
                    connection.close()
                finally:
                    self.seen.waiting[kind] -= 1
        finally:
            connection.close()

    async def _poll(self, connection: Connection, job: str) -> None:
        tag = ""
        while True:
            began = time.perf_counter()
            answer = await connection.request("GET", f"/v1/jobs/{job}", **({"if_none_match": tag} if tag else {}))
            self.seen.polls_ms.append(1000 * (time.perf_counter() - began))
            self.seen.answers[f"poll {answer.status}"] += 1
            if answer.status not in (200, 304):
                self.seen.errors[f"poll: {answer.status}"] += 1
            elif answer.status == 200 and _ended(answer.body):
                return
            tag = answer.headers.get("etag", tag)
            await asyncio.sleep(self.pace * float(answer.headers.get("retry-after", "1")))

    async def _long_poll(self, connection: Connection, job: str) -> None:
        while True:
            answer = await connection.request("GET", f"/v1/jobs/{job}?wait={LONG_POLL_S}")
            self.seen.answers[f"long-poll {answer.status}"] += 1
            if answer.status != 200:
                self.seen.errors[f"long-poll: {answer.status}"] += 1
                await asyncio.sleep(1)
            elif _ended(answer.body):
                self._heard(answer.body)
                return

    async def _listen(self, connection: Connection, job: str) -> None:
        answer, chunks = await connection.stream(f"/v1/jobs/{job}/events")
        self.seen.answers[f"events {answer.status}"] += 1
        if answer.status != 200:
            self.seen.errors[f"events: {answer.status}"] += 1
            raise EOFError
        done = False
        async for chunk in chunks:
            done = done or b"event: done" in chunk
        if not done:
            self.seen.errors["events: ended early"] += 1

    def _heard(self, body: bytes) -> None:
        ended = orjson.loads(body)["completed_at"]
        if ended:
            at = time.time() - _unix(ended)
            self.seen.ends_ms.append(1000 * at)


def hold(
    *, clients: int, seconds: float, ends_per_s: float, processes: int = 1, step_s: float = 10.0, **settings: str
) -> Held:
    """Hold *clients* for *seconds*, and then poll faster and faster, *step_s* at each pace, while it goes well."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), processes=processes, **settings) as stack,
    ):
        pin(os.getpid(), OTHER_CORE)
        return uvloop.run(_hold(stack, clients, seconds, ends_per_s, step_s))


async def _hold(stack: Stack, clients: int, seconds: float, ends_per_s: float, step_s: float) -> Held:
    moves = Moves(stack)
    crowd = Crowd(stack.api.url, moves)
    before = stack.api.rss_bytes()
    tasks = [asyncio.create_task(crowd.client(KINDS[number % 3], number)) for number in range(clients)]
    # Measured is what they cost when all are there, not how they come.
    deadline = time.monotonic() + COMING_S
    while sum(crowd.seen.waiting.values()) < clients and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLE_S)
    crowd.seen = Seen(waiting=crowd.seen.waiting)
    moving = asyncio.create_task(moves.end_some(ends_per_s))
    cpu, began = stack.api.cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    spent = stack.api.cpu_s() - cpu
    seen = crowd.seen
    held = Held(
        clients=clients,
        seconds=seconds,
        seen=Seen(
            [*seen.polls_ms], [*seen.ends_ms], Counter(seen.errors), Counter(seen.answers), Counter(seen.waiting)
        ),
        polls_per_s=len(seen.polls_ms) / took,
        cpu_share=spent / took,
        bytes_each=(stack.api.rss_bytes() - before) / clients,
        descriptors=stack.api.descriptors(),
        redis_connections=int(stack.redis.info("clients")["connected_clients"]),
        steps=await _faster(crowd, step_s) if step_s else [],
    )
    moving.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, moving, return_exceptions=True)
    await moves.close()
    return held


async def _faster(crowd: Crowd, step_s: float) -> list[tuple[float, float, float]]:
    """Share of the pace that was asked for, polls a second, p99 in ms; until a step's p99 is over 100 ms."""
    steps: list[tuple[float, float, float]] = []
    for pace in FASTER[1:]:
        crowd.pace = pace
        await asyncio.sleep(2)
        crowd.seen.polls_ms.clear()
        await asyncio.sleep(step_s)
        steps.append((pace, len(crowd.seen.polls_ms) / step_s, p99(crowd.seen.polls_ms)))
        if steps[-1][2] > 100:
            break
    return steps


def p99(values: list[float]) -> float:
    """The slowest hundredth's best; 0 of nothing."""
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def _ended(body: bytes) -> bool:
    return orjson.loads(body)["status"] not in ("queued", "processing")


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def table(held: Held) -> str:
    """A run in lines."""
    seen = held.seen
    lines = [
        f"| clients | {held.clients:,}, a third of each kind ({', '.join(KINDS)}), for {held.seconds:g} s |",
        "|---|---|",
        f"| errors | {sum(seen.errors.values())} {dict(seen.errors) or ''} |",
        f"| answers | {dict(seen.answers)} |",
        f"| polls a second | {held.polls_per_s:,.0f} |",
        f"| a poll, median and p99, ms | {statistics.median(seen.polls_ms or [0]):.1f}, {p99(seen.polls_ms):.1f} |",
        f"| from a job's end to its long-poll's answer, p99, ms | {p99(seen.ends_ms):.0f} (of {len(seen.ends_ms)}) |",
        f"| the API's share of a core | {held.cpu_share:.2f} |",
        f"| memory for each client, kB | {held.bytes_each / 1000:.0f} |",
        f"| open files of the API, connections to Redis | {held.descriptors}, {held.redis_connections} |",
    ]
    lines += [
        f"| polls a second at {pace:g} of the pace, p99 ms | {rate:,.0f}, {slow:.0f} |"
        for pace, rate, slow in held.steps
    ]
    return "\n".join(lines)
