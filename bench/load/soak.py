"""
Run the platform for half an hour at 70 % of what it can keep up: does anything grow? `python -m bench.load.soak`.

A round is what a client does with a recording: submit, poll at the pace of `Retry-After`, take the transcript; every
eighth holds a long-poll and every eighth an event stream instead of polling. The sustainable rate is measured first.
Jobs and their traces are kept for a minute, and of the audit stream 2,000 entries, so that the ledger's size is level
soon; idempotency keys, which last for a day, aren't counted. It fails when a job isn't accounted for, or when memory,
open files or keys grow.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import uvloop

from bench.load.http import Answer, Connection
from bench.load.stack import OTHER_CORE, Stack, pin, running
from demo import SAMPLES
from transcription.ledger.scripts import PREFIX

SHARE = 0.7
AT_ONCE = 8
KEPT_S, AUDIT = 60, 2000
LOOK_S = 5.0
IDEMPOTENCY = f"{PREFIX}idem:*"
"""Every submit has one, and they are meant to last for a day: these keys can't be level in half an hour."""

LAST_S = 240.0
AGAIN_S = 0.2
MOST = 150
"""Rounds at once: on a machine that has become slower than it was at the beginning, further ones are left out."""

GROWTH = 0.10
"""How much more of anything the last quarter may have than the second."""

ROOM = {"api MB": 8.0, "worker MB": 16.0, "api files": 64.0, "worker files": 16.0, "redis keys": 50.0, "redis MB": 2.0}
"""What doesn't count as growth, being so little."""

NAMES = tuple(ROOM)


@dataclass(slots=True)
class Soak:
    """What happened: the rate in rounds a second, how rounds ended, and the looks at the processes, one every 5 s."""

    sustainable_per_s: float = 0.0
    per_s: float = 0.0
    accepted: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    asked_again: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    looks: list[dict[str, float]] = field(default_factory=list)

    def unaccounted(self) -> int:
        """Jobs that were accepted and whose transcript nobody got."""
        return self.accepted - self.ends["completed"]

    def grown(self) -> dict[str, tuple[float, float]]:
        """What grew: its median in the second quarter, when all is level, and in the last one."""
        quarter = len(self.looks) // 4
        if quarter < 2:
            return {}
        early, late = self.looks[quarter : 2 * quarter], self.looks[-quarter:]
        medians = {
            name: tuple(statistics.median(look[name] for look in part) for part in (early, late)) for name in NAMES
        }
        return {
            name: (before, after)
            for name, (before, after) in medians.items()
            if after > before * (1 + GROWTH) and after > before + ROOM[name]
        }


class Rounds:
    """Clients that hand in recordings, wait for them and take the transcripts."""

    def __init__(self, stack: Stack, soak: Soak) -> None:
        self._stack = stack
        self._soak = soak
        self._numbers = itertools.count(1)
        self._flac = SAMPLES["short"].path.read_bytes()
        self._free: list[Connection] = []

    async def once(self) -> None:
        """One round."""
        connection = self._free.pop() if self._free else Connection.to(self._stack.api.url)
        try:
            await self._round(connection, next(self._numbers))
            self._free.append(connection)
        except Exception as error:  # noqa: BLE001  one round's end, which the figures show
            self._soak.ends[f"broke off: {type(error).__name__}"] += 1
        finally:
            if connection not in self._free:
                connection.close()

    async def _round(self, connection: Connection, number: int) -> None:
        body = self._flac + number.to_bytes(8, "big")
        # The same key with every try: whether the first one was accepted doesn't matter then.
        key = uuid.uuid4().hex
        answer = await self._ask(connection, "POST", "/v1/jobs", body, content_type="audio/flac", idempotency_key=key)
        if answer.status not in (200, 202):
            self._soak.ends[f"refused: {answer.status}"] += 1
        else:
            self._soak.accepted += 1
            path = answer.headers["location"]
            status = await self._ended(connection, path, number)
            result = await self._ask(connection, "GET", f"{path}/result?format=text")
            self._soak.ends[status if result.status == 200 else f"{status}, {result.status}"] += 1

    async def _ask(self, connection: Connection, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """An answer, asked for again on a new connection where the old one was just being closed, as clients do."""
        while True:
            try:
                return await connection.request(method, path, body, **headers)
            except (OSError, EOFError) as error:
                self._soak.asked_again[type(error).__name__] += 1
                connection.close()
                await asyncio.sleep(AGAIN_S)

    async def _ended(self, connection: Connection, path: str, number: int) -> str:
        if number % 8 == 0:
            with suppress(OSError, EOFError, ValueError):  # a stream that breaks off is followed by polls
                _, chunks = await connection.stream(f"{path}/events")
                async for _ in chunks:
                    pass
            connection.close()
        while True:
            answer = await self._ask(connection, "GET", f"{path}?wait=60" if number % 8 == 1 else path)
            if answer.status == 200:
                status = str(orjson.loads(answer.body)["status"])
                if status not in ("queued", "processing"):
                    return status
            elif answer.status != 503:
                return str(answer.status)
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))

    def close(self) -> None:
        """Let the connections go."""
        for connection in self._free:
            connection.close()


def soak(*, seconds: float, find_s: float = 30.0, look_s: float = LOOK_S, **settings: str) -> Soak:
    """Find the sustainable rate for *find_s*, then hold 70 % of it for *seconds*."""
    kept = settings | {"RETENTION__RESULT_TTL_S": str(KEPT_S), "RETENTION__TOMBSTONE_TTL_S": str(KEPT_S)}
    kept["LEDGER__AUDIT_LENGTH"] = str(AUDIT)
    with tempfile.TemporaryDirectory() as directory, running(Path(directory), worker=True, **kept) as stack:
        pin(os.getpid(), OTHER_CORE)
        return uvloop.run(_soak(stack, seconds, find_s, look_s))


async def _soak(stack: Stack, seconds: float, find_s: float, look_s: float) -> Soak:
    found = Soak()
    rounds = Rounds(stack, found)
    found.sustainable_per_s = await _closed_loop(rounds, found, find_s)
    found.per_s = SHARE * found.sustainable_per_s
    looking = asyncio.create_task(_look(stack, found, look_s))
    loop = asyncio.get_running_loop()
    due, end = loop.time(), loop.time() + seconds
    running_now: set[asyncio.Task[None]] = set()
    while due < end:
        if len(running_now) < MOST:
            task = asyncio.create_task(rounds.once())
            running_now.add(task)
            task.add_done_callback(running_now.discard)
        else:
            found.left_out += 1
        due += 1 / found.per_s
        await asyncio.sleep(max(0.0, due - loop.time()))
    looking.cancel()
    if running_now:
        _, late = await asyncio.wait(running_now, timeout=LAST_S)
        for task in late:
            task.cancel()
        found.ends["not ended"] += len(late)
    await asyncio.gather(looking, *running_now, return_exceptions=True)
    rounds.close()
    return found


async def _closed_loop(rounds: Rounds, found: Soak, seconds: float) -> float:
    """Rounds a second with a few clients who begin the next one at once."""
    began = time.monotonic()

    async def client() -> None:
        while time.monotonic() < began + seconds:
            await rounds.once()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return found.ends["completed"] / (time.monotonic() - began)


async def _look(stack: Stack, found: Soak, look_s: float) -> None:
    assert stack.worker is not None
    workers = [stack.worker, *stack.worker.children(recursive=True)]
    while True:
        await asyncio.sleep(look_s)
        alive = [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        memory = stack.redis.info("memory")
        kept_a_day = sum(1 for _ in stack.redis.scan_iter(match=IDEMPOTENCY, count=2000))
        found.looks.append(
            {
                "api MB": stack.api.rss_bytes() / 1e6,
                "worker MB": sum(one.memory_info().rss for one in alive) / 1e6,
                "api files": stack.api.descriptors(),
                "worker files": sum(one.num_fds() for one in alive),
                "redis keys": stack.redis.dbsize() - kept_a_day,
                "redis MB": memory["used_memory"] / 1e6,
            }
        )


def table(found: Soak) -> str:
    """The figures at the beginning of each eighth, and what became of the jobs."""
    step = max(1, len(found.looks) // 8)
    ends = f"ends: {dict(found.ends)}; unaccounted for: {found.unaccounted()}"
    if found.left_out or found.asked_again:
        ends += f"; rounds left out: {found.left_out}; asked again: {dict(found.asked_again)}"
    lines = [
        f"{found.per_s:.1f} rounds a second, 70 % of {found.sustainable_per_s:.1f}; {found.accepted} jobs; {ends}",
        "",
        f"| look | {' | '.join(NAMES)} |",
        f"|---|{'---|' * len(NAMES)}",
    ]
    for number, look in enumerate(found.looks):
        if number % step == 0:
            lines.append(f"| {number} | {' | '.join(f'{look[name]:.1f}' for name in NAMES)} |")
    return "\n".join([*lines, "", f"grown: {found.grown() or 'nothing'}"])


def main() -> None:
    """Soak, print, and fail where something grew or was lost."""
    parser = argparse.ArgumentParser(prog="bench.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--find", type=float, default=30, help="seconds in which the sustainable rate is measured")
    parser.add_argument("--server", default="uvicorn", help="the API's HTTP server: uvicorn or granian")
    given = parser.parse_args()
    found = soak(seconds=60 * given.minutes, find_s=given.find, API__SERVER=given.server)
    print(table(found), flush=True)
    if found.unaccounted() or found.grown():
        raise SystemExit("the soak failed: a job isn't accounted for, or something grew")


if __name__ == "__main__":
    main()
