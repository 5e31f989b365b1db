"""
Measure the API: requests for a core-second of one API process, with a real ledger. `python -m bench.requests`.

Clients and ledger share the machine with it, so the process's own time on the processors counts, not what was reached
in a second. No worker runs: what is handed in waits.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from demo import SAMPLES
from murmur.platform import ledger_server

CLIENTS = 8


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = ledger_server.start(Path(directory) / "ledger", lambda *_: None)
        port = ledger_server.free_port()
        settings = {"MODEL": "demo", "DATA_DIR": directory, "LEDGER__URL": ledger.url, "API__PORT": str(port)}
        environment = os.environ | {f"MURMUR_{name}": value for name, value in settings.items()}
        argv = [sys.executable, "-m", "api.main"]
        api = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            measure(f"http://127.0.0.1:{port}", psutil.Process(api.pid))
        finally:
            api.terminate()
            api.wait()
            ledger.process.stop()


def measure(url: str, api: psutil.Process) -> None:
    """Print a row for each kind of request."""
    limits = httpx.Limits(max_connections=CLIENTS)
    with httpx.Client(base_url=url, timeout=30, limits=limits) as client:
        until_ready(client)
        flac = SAMPLES["short"].path.read_bytes()

        def submit(number: int) -> httpx.Response:
            # Every recording differs in bytes that its decoder doesn't look at.
            return client.post("/v1/jobs", files={"file": ("talk.flac", flac + number.to_bytes(8, "big"))})

        job = submit(1 << 40).json()["id"]
        print(f"| request ({len(flac) / 1000:.0f} kB of FLAC) | in a second | ms of CPU | for a core-second |")
        print("|---|---|---|---|")
        row("`POST /v1/jobs`", submit, 300, api)
        row("`GET /v1/jobs/{id}`, waiting", lambda _: client.get(f"/v1/jobs/{job}"), 2000, api)
        row("`GET /health/live`", lambda _: client.get("/health/live"), 2000, api)


def row(name: str, request: Callable[[int], httpx.Response], count: int, api: psutil.Process) -> None:
    """Send *count* requests, some at a time, and print what one cost."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        before, began = spent(api), time.monotonic()
        statuses = {answer.status_code for answer in threads.map(request, range(count))}
        wall, cpu = time.monotonic() - began, spent(api) - before
    if not statuses <= {200, 202}:
        raise SystemExit(f"{name} was answered {statuses}")
    print(f"| {name} | {count / wall:,.0f} | {cpu / count * 1000:.2f} | {count / cpu:,.0f} |", flush=True)


def spent(api: psutil.Process) -> float:
    """Seconds on the processors of the API and all that it started."""
    times = [process.cpu_times() for process in (api, *api.children(recursive=True))]
    ended = api.cpu_times()
    return sum(one.user + one.system for one in times) + ended.children_user + ended.children_system


def until_ready(client: httpx.Client) -> None:
    """Return when the API answers, and has decoded something: its sandbox starts beside it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.get("/health/live").status_code == 200:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


if __name__ == "__main__":
    main()
