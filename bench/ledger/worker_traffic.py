"""
What many workers cost Redis while nothing is to be done: `python -m bench.ledger.worker_traffic --help`.

A thousand workers don't fit on a small machine. So one real worker (with an engine that computes nothing) is started,
and all that it sends is recorded with MONITOR; then so many connections as that many workers would have send the same
commands again, each worker under its own name and at its own moment, and hear what it would hear. The server's time on
its processor is its own; the machine is shared with who sends.

`gossip`: as many workers that listen to each other, as Celery's do unless they are told not to.
"""

import argparse
import asyncio
import codecs
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from tests.platform import eventually, running_ledger

ROOT = Path(__file__).parents[2]
NAME = "recorded@here"
LINE = re.compile(r"^\+(\d+\.\d+) \[\d+ ([^\]]+)\] (.*)$")
ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"')
EVENTS = "events (PUBLISH)"
RAMP_S = 10.0


@dataclass(frozen=True)
class Sent:
    """A command: when it came, by which connection, its arguments."""

    at: float
    connection: str
    arguments: tuple[bytes, ...]

    @property
    def kind(self) -> str:
        """What it is for."""
        name = self.arguments[0].upper().decode()
        if name == "EVALSHA":
            return "the ledger's scripts (EVALSHA)"
        if name == "PUBLISH":
            return EVENTS
        return "waiting for hints (BRPOP)" if name == "BRPOP" else f"{name} (Celery's and ours)"


@dataclass
class Recording:
    """What one worker does: to be subscribed to at the start, and to be sent again and again every *length_s*."""

    length_s: float
    connections: int
    subscriptions: dict[str, list[tuple[bytes, ...]]] = field(default_factory=lambda: defaultdict(list))
    sent: list[Sent] = field(default_factory=list)


class Monitor(threading.Thread):
    """Everything that clients send to a server, but not what its scripts do."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        at = urlsplit(url)
        self._socket = socket.create_connection((at.hostname, at.port))
        self._socket.sendall(b"MONITOR\r\n")
        self.sent: list[Sent] = []
        self.start()

    def run(self) -> None:
        """Listen until the connection is closed."""
        for line in self._socket.makefile(encoding="latin-1", newline="\r\n"):
            found = LINE.match(line.rstrip("\r\n"))
            if found and found[2] != "lua":
                arguments = (codecs.escape_decode(one.encode("latin-1"))[0] for one in ARGUMENT.findall(found[3]))
                self.sent.append(Sent(float(found[1]), found[2], tuple(bytes(one) for one in arguments)))

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def worker(url: str, directory: Path, *flags: str) -> Iterator[None]:
    """One real worker that has nothing to do."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")},
        "MURMUR_MODEL": "demo", "MURMUR_WORKER__ENGINE": "tests.chaos.stub_engine:load",
        "MURMUR_DATA_DIR": str(directory), "MURMUR_LEDGER__URL": url,
    }  # fmt: skip
    argv = [sys.executable, "-m", "celery", "--quiet", "-A", "worker.app", "worker", "-n", NAME, *flags]
    process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def record(redis: Redis, url: str, directory: Path, seconds: float, *flags: str) -> Recording:
    """Start a worker, and record it when it has settled."""
    monitor = Monitor(url)
    with worker(url, directory, *flags):
        eventually(lambda: redis.zcard("murmur:workers"), within_s=60)
        time.sleep(RAMP_S)
        began, own = time.time(), {f"{client['addr']}" for client in redis.client_list() if client["cmd"] == "monitor"}
        time.sleep(seconds)
        clients = {client["addr"] for client in redis.client_list()} - own
        ended = time.time()
        asking = redis.client_info()["addr"]
    monitor.close()
    found = Recording(seconds, len(clients - {asking}))
    for sent in monitor.sent:
        if sent.connection == asking:
            continue
        if sent.arguments[0].upper() in (b"SUBSCRIBE", b"PSUBSCRIBE"):
            found.subscriptions[sent.connection].append(sent.arguments)
        elif began <= sent.at < ended:
            found.sent.append(Sent(sent.at - began, sent.connection, sent.arguments))
    return found


def encoded(arguments: tuple[bytes, ...], name: str) -> bytes:
    """A command as a client called *name* sends it."""
    own = [one.replace(NAME.encode(), name.encode()) for one in arguments]
    return b"*%d\r\n" % len(own) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in own)


class Heard(asyncio.Protocol):
    """A connection whose answers nobody looks at."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what commands are written to."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


async def opened(stack: ExitStack, url: str) -> asyncio.Transport:
    """A connection, which ends with *stack*."""
    at = urlsplit(url)
    _, protocol = await asyncio.get_running_loop().create_connection(Heard, at.hostname, at.port)
    stack.callback(protocol.transport.abort)
    return protocol.transport


async def play(recording: Recording, url: str, number: int, *, gossip: bytes | None) -> None:
    """One worker, until it is canceled."""
    name, connections = f"w{number}@here", {}
    with ExitStack() as stack:
        for connection in {*recording.subscriptions, *(sent.connection for sent in recording.sent)}:
            connections[connection] = await opened(stack, url)
            for arguments in recording.subscriptions[connection]:
                connections[connection].write(encoded(arguments, name))
        if gossip:
            (await opened(stack, url)).write(encoded((b"PSUBSCRIBE", gossip), name))
        commands = [(sent.at, connections[sent.connection], encoded(sent.arguments, name)) for sent in recording.sent]
        loop = asyncio.get_running_loop()
        began = loop.time()
        round_at = began - random.random() * recording.length_s  # the first round begins somewhere in it
        while True:
            for due, transport, command in commands:
                if round_at + due >= began:
                    await asyncio.sleep(round_at + due - loop.time())
                    transport.write(command)
            round_at += recording.length_s


def counters(redis: Redis) -> list[float]:
    """The server's seconds on its processor, commands, those inside of scripts too, and bytes in and out."""
    info = redis.info("everything")
    cpu = sum(info[f"used_cpu_{kind}_main_thread"] for kind in ("user", "sys"))
    return [cpu, info["total_commands_processed"], info["total_net_input_bytes"], info["total_net_output_bytes"]]


async def measure(recording: Recording, redis: Redis, url: str, count: int, *, gossip: bytes | None, s: float) -> str:
    """A row of the table: so many workers for so many seconds."""
    workers = [asyncio.create_task(play(recording, url, number, gossip=gossip)) for number in range(count)]
    await asyncio.sleep(RAMP_S)
    before, began = await asyncio.to_thread(counters, redis), time.monotonic()
    await asyncio.sleep(s)
    after, took = await asyncio.to_thread(counters, redis), time.monotonic() - began
    connected = redis.info("clients")["connected_clients"]
    for one in workers:
        one.cancel()
    for result in await asyncio.gather(*workers, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise SystemExit(f"a worker ended: {result!r}")
    cpu, commands, came, went = ((b - a) / took for a, b in zip(before, after, strict=True))
    cells = (
        f"{count:,}{', gossip' if gossip else ''}", f"{connected:,}", f"{commands:,.0f}", f"{100 * cpu:.1f} %",
        f"{came / 1024:,.0f}", f"{went / 1024:,.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def shares(recording: Recording) -> str:
    """What one worker sends, by what it is for."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for sent in recording.sent:
        counts[sent.kind][0] += 1
        counts[sent.kind][1] += len(encoded(sent.arguments, NAME))
    rows = (
        f"| {kind} | {calls / recording.length_s:.2f} | {size / recording.length_s:,.0f} |"
        for kind, (calls, size) in sorted(counts.items())
    )
    return "\n".join(["| one worker sends | commands a second | bytes a second |\n|---|---|---|", *rows])


def main() -> None:
    """Record, play, and print two tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    arguments.add_argument("--gossip", type=int, nargs="*", default=[10, 100])
    arguments.add_argument("--seconds", type=float, default=30.0, help="how long to record, and to measure each row")
    arguments.add_argument("--heartbeat-s", help="between two heartbeat events, as Celery's --heartbeat-interval")
    asked = arguments.parse_args()
    flags = ["--heartbeat-interval", asked.heartbeat_s] if asked.heartbeat_s else []
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ledger(Path(folder) / "ledger") as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        recording = record(redis, server.url, Path(folder) / "data", asked.seconds, *flags)
        print(f"{shares(recording)}\n\nA worker has {recording.connections} connections.\n")
        channels = [sent.arguments[1] for sent in recording.sent if sent.kind == EVENTS]
        events = channels[0].rpartition(b".")[0] + b".*"
        print("| workers | connections | commands a second, with those in scripts | of a core | KB/s in | KB/s out |")
        print(f"|{'---|' * 6}")
        for count, gossip in [*((n, None) for n in asked.workers), *((n, events) for n in asked.gossip)]:
            row = asyncio.run(measure(recording, redis, server.url, count, gossip=gossip, s=asked.seconds))
            print(row, flush=True)


if __name__ == "__main__":
    main()
