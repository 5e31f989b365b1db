"""
Two hundred clients at once, while the ledger answers, while it is slow (DEBUG SLEEP, again and again) and while it is
stopped (SIGSTOP).

    python -m bench.ledger.silent_ledger

Plain sockets, so that the clients cost little; the last column shows what asking nobody costs at the same moment.
"""

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from murmur.platform.ledger_binary import find_binary
from tests.live_api import api_process, api_settings
from tests.platform import running_ledger

CROWD = 200
ROUTES = ("/v1/jobs", "/v1/models", "/stats", "/health/ready", "/health/live")


async def ask(host: str, port: int, path: str) -> tuple[str, float]:
    """The status of one request, and its seconds."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    status = (await reader.readline()).split()[1].decode()
    await reader.read()
    writer.close()
    return status, time.monotonic() - began


async def crowd(host: str, port: int, path: str) -> str:
    """Statuses, and the median and the longest of the times, of a crowd."""
    found = await asyncio.gather(*(ask(host, port, path) for _ in range(CROWD)))
    times = sorted(took for _, took in found)
    return f"{'/'.join(sorted({status for status, _ in found}))}, {times[CROWD // 2]:.2f} s, {times[-1]:.2f} s"


def measure(host: str, port: int, name: str) -> None:
    """Print a row of the table."""
    cells = []
    for path in ROUTES:
        time.sleep(1.2)  # what was known of the ledger is forgotten
        cells.append(asyncio.run(crowd(host, port, path)))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def debuggable(directory: Path) -> Path:
    """The server's program with its debugging commands."""
    program = directory / "server"
    program.write_text(f'#!/bin/sh\nexec {find_binary()} "$@" --enable-debug-command local\n')
    program.chmod(0o700)
    return program


@contextmanager
def slow(redis: Redis) -> Iterator[None]:
    """Let the server answer nobody for half a second, again and again."""
    over = threading.Event()

    def sleep() -> None:
        while not over.is_set():
            redis.execute_command("DEBUG", "SLEEP", "0.5")

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with (
            running_ledger(directory / "ledger", debuggable(directory)) as server,
            Redis.from_url(server.url, socket_timeout=60) as redis,
            api_process(api_settings(server.url, directory / "data")) as (api, _),
        ):
            host, port = str(api.base_url.host), int(api.base_url.port or 80)
            print(f"| ledger | {' | '.join(ROUTES)} |\n|{'---|' * (len(ROUTES) + 1)}")
            measure(host, port, "answers")
            with slow(redis):
                measure(host, port, "slow")
            pid = int(redis.info("server")["process_id"])
            os.kill(pid, signal.SIGSTOP)
            try:
                measure(host, port, "stopped")
            finally:
                os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
